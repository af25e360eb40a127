//! Tests against tests/support/golden_frames.json, which the host's tests read too.

use crate::fields::{Reader, Writer};
use crate::frame::{kind, open, Header, HEADER_BYTES};
use crate::json::{self, Json};
use crate::output::{Failure, Output};
use crate::process::request::Request;

struct Golden {
    name: String,
    header: Header,
    bytes: Vec<u8>,
    fields: Vec<(String, String, Json)>,
}

fn golden() -> Vec<Golden> {
    let text = include_str!("../../../tests/support/golden_frames.json");
    json::parse(text).array().iter().map(read).collect()
}

fn read(frame: &Json) -> Golden {
    let number = |key: &str| frame.get(key).number();
    let bytes = unhex(frame.get("hex").text());
    let header = Header {
        length: (bytes.len() - HEADER_BYTES) as u32,
        stream: number("stream") as u32,
        kind: number("type") as u8,
        channel: number("channel") as u8,
        offset: number("offset") as u64,
    };
    let field = |field: &Json| match field.array() {
        [name, kind, value] => (name.text().to_owned(), kind.text().to_owned(), value.clone()),
        other => panic!("{other:?}"),
    };
    let fields = frame.get("fields").array().iter().map(field).collect();
    Golden { name: frame.get("name").text().to_owned(), header, bytes, fields }
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn write(payload: &mut Vec<u8>, kind: &str, value: &Json) {
    let mut writer = Writer::new(payload);
    match kind {
        "u8" => writer.u8(value.number() as u8),
        "u16" => writer.raw(&(value.number() as u16).to_le_bytes()),
        "u32" => writer.u32(value.number() as u32),
        "u64" => writer.u64(value.number() as u64),
        "i32" => writer.i32(value.number() as i32),
        "i64" => writer.i64(value.number() as i64),
        "str" => writer.str(value.text().as_bytes()),
        "raw" => writer.raw(&unhex(value.text())),
        "list" => value.array().iter().fold(writer.u32(value.array().len() as u32), |writer, item| writer.str(item.text().as_bytes())),
        "map" => value.array().iter().fold(writer.u32(value.array().len() as u32), |writer, pair| {
            writer.str(pair.array()[0].text().as_bytes()).str(pair.array()[1].text().as_bytes())
        }),
        other => panic!("{other}"),
    };
}

fn check_read(reader: &mut Reader<'_>, kind: &str, value: &Json) {
    let texts = |value: &Json| value.array().iter().map(|item| item.text().as_bytes().to_vec()).collect::<Vec<_>>();
    match kind {
        "u8" => assert_eq!(i128::from(reader.u8().unwrap()), value.number()),
        "u16" => assert_eq!(i128::from(reader.u16().unwrap()), value.number()),
        "u32" => assert_eq!(i128::from(reader.u32().unwrap()), value.number()),
        "u64" => assert_eq!(i128::from(reader.u64().unwrap()), value.number()),
        "i32" => assert_eq!(i128::from(reader.u32().unwrap() as i32), value.number()),
        "i64" => assert_eq!(i128::from(reader.i64().unwrap()), value.number()),
        "str" => assert_eq!(reader.str().unwrap(), value.text().as_bytes()),
        "raw" => unhex(value.text()).iter().for_each(|byte| assert_eq!(reader.u8(), Ok(*byte))),
        "list" => assert_eq!(reader.list().unwrap(), texts(value)),
        "map" => {
            let pairs = reader.map().unwrap();
            assert_eq!(pairs.len(), value.array().len());
            for ((key, text), pair) in pairs.iter().zip(value.array()) {
                assert_eq!(vec![key.to_vec(), text.to_vec()], texts(pair));
            }
        }
        other => panic!("{other}"),
    }
}

#[test]
fn headers_and_fields_encode_and_decode() {
    for frame in golden() {
        let payload = &frame.bytes[HEADER_BYTES..];
        assert_eq!(Header::decode(&frame.bytes), Some(frame.header), "{}", frame.name);
        assert_eq!(frame.header.encode(), frame.bytes[..HEADER_BYTES], "{}", frame.name);
        let mut written = Vec::new();
        let mut reader = Reader::new(payload);
        for (_, kind, value) in &frame.fields {
            write(&mut written, kind, value);
            check_read(&mut reader, kind, value);
        }
        assert_eq!(written, payload, "{}", frame.name);
        assert_eq!(reader.end(), Ok(()), "{}", frame.name);
    }
}

#[test]
fn every_frame_type_and_stream_kind_is_there() {
    let frames = golden();
    for wanted in [0x01, 0x02, 0x03, 0x04, 0x05, 0x10, 0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17] {
        assert!(frames.iter().any(|frame| frame.header.kind == wanted), "type {wanted:#x}");
    }
    for wanted in [1, 2, 3, 4, 5, 6, 7, 8, open::API] {
        assert!(frames.iter().any(|frame| frame.header.kind == kind::OPEN && frame.header.channel == wanted), "kind {wanted}");
    }
    for operation in 1..=14 {
        let is_call = |frame: &Golden| frame.header.kind == kind::OPEN && frame.header.channel == open::CALL;
        assert!(frames.iter().any(|frame| is_call(frame) && frame.bytes[HEADER_BYTES] == operation), "operation {operation}");
    }
}

#[test]
fn requests_for_processes_are_understood() {
    for frame in golden().iter().filter(|frame| frame.header.kind == kind::OPEN && frame.header.channel == open::PROCESS) {
        let request = Request::decode(&frame.bytes[HEADER_BYTES..]).unwrap();
        request.check().unwrap();
        let value = |name: &str| &frame.fields.iter().find(|field| field.0 == name).unwrap().2;
        assert_eq!(request.exec_id, value("exec_id").text().as_bytes());
        assert_eq!(request.argv.len(), value("argv").array().len());
        assert_eq!(request.environment.len(), value("env").array().len());
        assert_eq!(request.directory, value("cwd").text().as_bytes());
        assert_eq!(request.user, value("user").text().as_bytes());
        assert_eq!((request.terminal, request.null_stdin), (value("flags").number() == 1, value("flags").number() == 2));
        assert_eq!((i128::from(request.rows), i128::from(request.columns)), (value("rows").number(), value("columns").number()));
        assert_eq!((i128::from(request.timeout_ms), i128::from(request.max_tasks)), (value("timeout_ms").number(), value("max_tasks").number()));
    }
}

/// What `queue` puts into an output queue, compared with a golden frame.
fn assert_queued(name: &str, queue: impl FnOnce(&mut Output)) {
    let mut output = Output::default();
    queue(&mut output);
    let wanted = golden().into_iter().find(|frame| frame.name == name).unwrap();
    assert_eq!(output.unwritten(), wanted.bytes, "{name}");
}

#[test]
fn the_output_queue_writes_golden_frames() {
    assert_queued("reply empty", |out| out.reply(8, |_| ()));
    assert_queued("reply failed", |out| out.refuse(8, &Failure::new(2, "/srv: No such file or directory")));
    assert_queued("ack by the guest", |out| out.ack(2, 0, 8, 262_152));
    assert_queued("eof of stdout", |out| out.eof(2, 1, 4099));
    assert_queued("close by the guest", |out| out.close(1));
    assert_queued("event transfer complete", |out| {
        out.event(12, 2, |payload| {
            payload.u64(1 << 30);
        });
    });
    assert_queued("data of stdout", |out| {
        let taken = out.frame_from(Header::new(2, kind::DATA, 1, 4096), |queue| {
            queue.extend_from_slice(b"hi\n");
            Ok(3)
        });
        assert_eq!(taken.unwrap(), 3);
    });
}

#[test]
fn what_fails_while_it_is_queued_leaves_no_trace() {
    assert_queued("reply empty", |out| {
        let header = Header::new(8, kind::DATA, 1, 0);
        assert_eq!(out.frame_from(header, |_| Ok(0)).unwrap(), 0);
        assert!(out.frame_from(header, |_| Err(std::io::ErrorKind::WouldBlock.into())).is_err());
        let failed: Result<(), ()> = out.try_frame(header, |payload| {
            payload.u64(1);
            Err(())
        });
        assert!(failed.is_err());
        out.reply(8, |_| ());
    });
}
