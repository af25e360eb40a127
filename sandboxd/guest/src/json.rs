//! Enough of JSON to read the golden frames. Only in tests; panics on anything else.

use std::iter::Peekable;
use std::str::Chars;

#[derive(Clone, Debug)]
pub enum Json {
    Number(i128),
    Text(String),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    pub fn number(&self) -> i128 {
        match self {
            Json::Number(number) => *number,
            other => panic!("{other:?} is no number"),
        }
    }

    pub fn text(&self) -> &str {
        match self {
            Json::Text(text) => text,
            other => panic!("{other:?} is no text"),
        }
    }

    pub fn array(&self) -> &[Json] {
        match self {
            Json::Array(items) => items,
            other => panic!("{other:?} is no array"),
        }
    }

    pub fn get(&self, key: &str) -> &Json {
        match self {
            Json::Object(pairs) => &pairs.iter().find(|(name, _)| name == key).unwrap().1,
            other => panic!("{other:?} is no object"),
        }
    }
}

pub fn parse(text: &str) -> Json {
    value(&mut text.chars().peekable())
}

/// The next character that is no space, taken.
fn next(characters: &mut Peekable<Chars<'_>>) -> char {
    characters.find(|character| !character.is_whitespace()).unwrap()
}

fn value(characters: &mut Peekable<Chars<'_>>) -> Json {
    match next(characters) {
        '[' => Json::Array(items(characters, ']', value)),
        '{' => Json::Object(items(characters, '}', |characters| {
            let key = value(characters).text().to_owned();
            assert_eq!(next(characters), ':');
            (key, value(characters))
        })),
        '"' => Json::Text(text(characters)),
        first => {
            let mut digits = first.to_string();
            while let Some(digit) = characters.next_if(char::is_ascii_digit) {
                digits.push(digit);
            }
            Json::Number(digits.parse().unwrap())
        }
    }
}

fn items<T>(characters: &mut Peekable<Chars<'_>>, end: char, item: impl Fn(&mut Peekable<Chars<'_>>) -> T) -> Vec<T> {
    let mut found = Vec::new();
    loop {
        while characters.next_if(|character| character.is_whitespace() || *character == ',').is_some() {}
        if characters.next_if_eq(&end).is_some() {
            return found;
        }
        found.push(item(characters));
    }
}

fn text(characters: &mut Peekable<Chars<'_>>) -> String {
    let found: String = std::iter::from_fn(|| characters.next_if(|character| *character != '"')).collect();
    assert_eq!(characters.next(), Some('"'));
    assert!(!found.contains('\\'), "escapes are not read");
    found
}
