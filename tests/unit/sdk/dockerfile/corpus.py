"""Dockerfiles of every feature, each with a name. All of them are valid for BuildKit and for cove."""

from __future__ import annotations

from typing import Final

CORPUS: Final[dict[str, str]] = {
    "smallest": "FROM scratch",
    "no newline at the end": "FROM a\nRUN x",
    "empty lines": "\n\n  \nFROM a\n\n\t\nRUN x\n\n",
    "comments": "# first\nFROM a\n# second\nRUN x\n  # third\nRUN y # no comment\n",
    "carriage returns": "FROM a\r\nRUN x \\\r\n  y\r\nENV A=1\r\n",
    "byte order mark": "\ufeffFROM a\nRUN x\n",
    "byte order mark and directive": "\ufeff# escape=`\nFROM a\nRUN x `\n y\n",
    "lower case": "from a as B\nrun x\ncopy --from=b x y\n",
    "indented": "  FROM a\n\tRUN x\n \t ENV A=1\n",
    "several spaces": "FROM   a\t\tAS   b\nRUN    x   y\nCOPY  a   b    /c/\n",
    "syntax directive": "# syntax=docker/dockerfile:1\nFROM a\n",
    "syntax directive loosely": "#   SYNTAX  =   docker/dockerfile:1.7  \nFROM a\n",
    "two directives": "# syntax=x\n# escape=`\nFROM a\nRUN x `\n y\nRUN c:\\\\\n",
    "directive after a comment": "# hello\n# escape=`\nFROM a\nRUN x \\\n y\n",
    "directive after an empty line": "\n# escape=`\nFROM a\nRUN x \\\n y\n",
    "unknown directive": "# foo=bar\n# escape=`\nFROM a\nRUN x \\\n y\n",
    "continuation": "FROM a\nRUN x && \\\n    y && \\\n    z\n",
    "continuation then spaces": "FROM a\nRUN x \\  \t\n y\n",
    "continuation with comments": "FROM a\nRUN x && \\\n# one\n  # two\n    y \\\n#three\n  z\n",
    "continuation with empty lines": "FROM a\nRUN x && \\\n\n   \n    y\n",
    "continuation to the end": "FROM a\nRUN x \\\n",
    "continuation of nothing": "FROM a\n\\\nRUN x\n",
    "continuation of a keyword": "FROM a\nRU\\\nN x\n",
    "escaped backslash at the end": "FROM a\nRUN x \\\\\nRUN y\n",
    "three backslashes at the end": "FROM a\nRUN x \\\\\\\nRUN y\n",
    "hash in a continuation": "FROM a\nRUN x \\\n y # z\n",
    "exec forms": 'FROM a\nRUN ["x", "y z"]\nCMD ["a"]\nENTRYPOINT [ "b" , "c" ]\nSHELL ["/bin/bash", "-c"]\n',
    "empty exec forms": "FROM a\nCMD []\nENTRYPOINT []\n",
    "commands of nothing": "FROM a\nCMD\nENTRYPOINT\n",
    "brackets that are no json": "FROM a\nRUN [ -f x ] && y\nRUN [[ -n $A ]]\nRUN ['a', 'b']\nRUN [\"a\",]\n",
    "json escapes": 'FROM a\nRUN ["\\u00e4", "a\\"b", "\\\\", "\\ud83d\\ude00", "\\/"]\n',
    "json over lines": 'FROM a\nCMD ["a", \\\n  "b", \\\n  "c"]\n',
    "shell forms": "FROM a\nCMD a b \"c d\"\nENTRYPOINT exec x $Y\nRUN a='b c' d\n",
    "heredoc": "FROM a\nRUN <<EOF\nset -e\nSET x\n# no comment\nFROM b\nEOF\nRUN y\n",
    "heredoc quoted": 'FROM a\nRUN <<\'EOF\'\n$A\nEOF\nRUN <<"EOF"\n$A\nEOF\nRUN <<E"O"F\n$A\nEOF\n',
    "heredoc with tabs": "FROM a\nRUN <<-EOF\n\tx\n\t\ty\n z\n\tEOF\n",
    "heredoc with tabs kept": "FROM a\nRUN <<EOF\n\tx\n\tEOF\nEOF\n",
    "heredocs in one run": "FROM a\nRUN cat <<A - <<B\n1\nA\n2\nB\nRUN x\n",
    "heredoc into a program": "FROM a\nRUN python3 <<EOF > /out\nprint(1)\nEOF\n",
    "heredoc on a descriptor": "FROM a\nRUN x 3<<EOF\n1\nEOF\n",
    "heredoc after a continuation": "FROM a\nRUN x && \\\n  cat <<EOF\n1\\\n2\nEOF\n",
    "heredoc with a shebang": "FROM a\nRUN <<EOF\n#!/usr/bin/env python3\nprint(1)\nEOF\n",
    "heredoc with spaces in the name": 'FROM a\nRUN <<"E F"\nx\nE F\n',
    "heredoc with an escaped name": "FROM a\nRUN <<E\\OF\n$x\nEOF\n",
    "heredoc that is empty": "FROM a\nRUN <<EOF\nEOF\n",
    "heredoc with empty lines": "FROM a\nRUN <<EOF\n\n\nEOF\nRUN x\n",
    "heredoc with carriage returns": "FROM a\r\nRUN <<EOF\r\nx\r\nEOF\r\nRUN y\r\n",
    "no heredoc in quotes": "FROM a\nRUN echo \"<<EOF\"\nRUN echo 'a <<EOF b'\nRUN echo \\<<EOF\n",
    "no heredoc with an open quote": "FROM a\nRUN echo \"it's <<EOF\nRUN y\n",
    "no heredoc in a shift": "FROM a\nRUN echo $((1<<3))\nRUN cat <<<word\nRUN x<<EOF\n",
    "no heredoc elsewhere": "FROM a\nCMD cat <<EOF\nENV A=<<EOF\n",
    "copied heredoc": "FROM a\nCOPY <<EOF /x\nhello $A\nEOF\nADD <<EOF /x\nhello\nEOF\n",
    "copied heredocs": "FROM a\nCOPY <<a <<'b' c /x/\n1\na\n2\nb\nRUN x\n",
    "copied heredoc with flags": "FROM a\nCOPY --chmod=755 --chown=1:2 <<-run.sh /x/\n\t#!/bin/sh\n\trun.sh\n",
    "copies": 'FROM a\nCOPY a /b\nCOPY a b* c/ /d/\nCOPY ["a b", "c d", "/e f/"]\nADD a.tar /x\nADD https://example.com/x /y\n',
    "copies with flags": (
        "FROM a AS x\nFROM b\nCOPY --from=x --chown=u:g --chmod=u=rwX,go=rX --link --parents --exclude=*.md --exclude=*.txt a/./b /c/\n"
        "COPY --from=0 --link=false /a /b\nCOPY --from=docker.io/library/busybox:latest /bin/sh /sh\n"
    ),
    "adds with flags": (
        "FROM a\nADD --keep-git-dir=true --unpack=false --link https://example.com/a.tar /b\n"
        f"ADD --checksum=sha256:{'0' * 64} --chown=1 --chmod=0644 --exclude=x https://example.com/x /y\n"
    ),
    "copies with quotes": 'FROM a\nCOPY "a b /c\nCOPY a\\ b /c\n',
    "mounts": (
        "FROM a AS x\nRUN --mount=type=cache,target=/root/.cache pip install x\n"
        "RUN --mount=type=bind,from=x,source=/a,target=/b,rw --mount=type=tmpfs,target=/t,size=64m y\n"
        "RUN --mount=type=secret,id=token,target=/run/t,required=true,mode=0400,uid=1,gid=2 --mount=type=secret,id=k,env=K z\n"
        "RUN --mount=target=. --mount=type=cache,id=c,dst=/d,sharing=locked,ro w\n"
    ),
    "mounts with quotes": "FROM a\nRUN --mount=type=cache,target='/a b' --mount=\"type=tmpfs,target=/c\" x\n",
    "network and security": "FROM a\nRUN --network=none --security=sandbox x\nRUN --network=default y\n",
    "flags end": "FROM a\nRUN --network=none -- --x\nRUN -x --y\n",
    "environment": 'FROM a\nENV A=1 B="x y" C=\'z w\' D=a\\ b E= F=""\nENV G=$A${B}c\\$d\nENV H="a\'b" I=\'a"b\'\n',
    "environment in the old form": 'FROM a\nENV A b c\nENV A   "b"  c\nENV A b=c\n',
    "environment over lines": 'FROM a\nENV A=1 \\\n    B=2 \\\n    C="x \\\n y"\n',
    "labels": 'FROM a\nLABEL a=b "c.d"="e f" g=h\\ i\nLABEL old form\nLABEL multi="a \\\n b"\n',
    "arguments": 'ARG V=1\nARG W\nFROM a:$V\nARG V\nARG A=1 B C="x y" D=\nARG E=${V:-x}\n',
    "stages": "FROM a AS one\nRUN x\nFROM one AS two\nCOPY --from=one /a /b\nFROM scratch\nCOPY --from=1 / /\n",
    "platforms": "FROM --platform=linux/amd64 a\nFROM --platform=$BUILDPLATFORM b AS c\n",
    "references": "FROM localhost:5000/a/b:tag\nFROM a@sha256:" + "0" * 64 + "\n",
    "metadata": "FROM a\nEXPOSE 80 443/tcp 5000-5010/udp $P\nMAINTAINER a b <c@d>\nUSER u:g\nUSER 1000\nWORKDIR /a b/$C\nWORKDIR d\n",
    "health": (
        "FROM a\nHEALTHCHECK NONE\nHEALTHCHECK --interval=5m --timeout=3s --start-period=1m30s --start-interval=500ms "
        "--retries=3 CMD x || y\n"
        'HEALTHCHECK CMD ["x", "y"]\nHEALTHCHECK cmd z\n'
    ),
    "letters of the world": "FROM a\nRUN echo 'żółw 亀'\nENV Ä=ö LONG=\"é\u3000\"\nCOPY ä* /ü/\nLABEL 名=前\n",
    "odd spaces": "FROM a\nRUN x\u00a0y\nENV A=1\u3000B=2\n\u2003RUN z\nRUN a\x1cb\n",
    "quotes everywhere": 'FROM a\nENV A="b\\"c" B=\'d\\e\' C=a"b c"d\'e f\'\nARG X="a \'b\' c"\n',
    "backtick escape": '# escape=`\nFROM a\nCOPY x c:\\\\\nRUN dir c:\\\nENV A=a` b B="`"" C=c:\\d\nWORKDIR c:\\x\n',
    "application": (
        "# syntax=docker/dockerfile:1\nARG PYTHON=3.12\nFROM python:${PYTHON}-slim AS build\n"
        "ENV PIP_NO_CACHE_DIR=1 \\\n    PYTHONUNBUFFERED=1\n"
        "WORKDIR /src\nCOPY pyproject.toml uv.lock* ./\nRUN --mount=type=cache,target=/root/.cache/pip \\\n    pip install .\nCOPY . .\n"
        "FROM python:${PYTHON}-slim\nCOPY --from=build --chown=app:app /src /app\nUSER app\nEXPOSE 8000\n"
        'ENTRYPOINT ["python", "-m", "app"]\n'
    ),
}
