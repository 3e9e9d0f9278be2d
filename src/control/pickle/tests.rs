//! The codec against tables, against bombs, and against Python itself.

use std::io::Write;
use std::process::{Command, Stdio};

use expect_test::{Expect, expect};
use memchr::memmem;
use proptest::prelude::*;
use proptest::strategy::ValueTree;

use super::super::frame::END;
use super::*;

/// Every pickle of a table, as Python would print its value, or why not.
fn check(pickles: &[&[u8]], limits: &Limits, expected: Expect) {
    let lines: Vec<String> = pickles
        .iter()
        .map(|pickle| match decode(pickle, limits) {
            Ok(value) => format!("{}\n", Value::List(vec![value])),
            Err(error) => format!("{error}\n"),
        })
        .collect();
    expected.assert_eq(&lines.concat());
}

/// Runs Python on `input`; the tests that ask it are worthless without it.
fn python(script: &str, input: &str) -> Vec<String> {
    let mut child = Command::new("python3")
        .args(["-c", script])
        .env("PYTHONUTF8", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("these tests need python3 on the PATH");
    let mut stdin = child.stdin.take().expect("a pipe");
    // In a thread: Python writes while it reads, and both pipes are short.
    let output = std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(input.as_bytes()).expect("python reads"));
        child.wait_with_output().expect("python ends")
    });
    assert!(output.status.success(), "python failed");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    text.lines().map(str::to_owned).collect()
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Vec<u8> {
    text.as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

#[test]
fn what_clients_send() {
    check(
        &[
            // Python 2, protocols 0 to 2.
            b"(lp0\nS'status'\np1\naS'sshd'\np2\na.",
            b"]q\x01(U\x06statusq\x02U\x04sshdq\x03e.",
            b"\x80\x02]q\x01(U\x06statusq\x02X\x04\x00\x00\x00sshdq\x03e.",
            // Go's og-rek: no memo, lists by LIST.
            b"(S\"ping\"\nS\"100\"\nl.",
            b"(U\x04pingT\x03\x00\x00\x00100l.",
            b"\x80\x02(X\x04\x00\x00\x00pingX\x03\x00\x00\x00100l.",
            // Python 3 in a frame, and more after the end.
            b"\x80\x04\x95\x0a\x00\x00\x00\x00\x00\x00\x00]\x94\x8c\x04ping\x94a.whatever",
        ],
        &Limits::REQUEST,
        expect![[r#"
            [['status', 'sshd']]
            [['status', 'sshd']]
            [['status', 'sshd']]
            [['ping', '100']]
            [['ping', '100']]
            [['ping', '100']]
            [['ping']]
        "#]],
    );
}

#[test]
fn texts_in_all_forms() {
    check(
        &[
            b"Va\\u000ab\\u20ac\\U0001f600\\ud800\xe9\n.",
            b"V\\\\u0041 \\x \\u12 \\\n.",
            b"S'a\\'b\\x41\\101\\0\\n\\\\\\q'\n.",
            b"S\"it's\"\n.",
            b"S'\\xc3\\xa9\\xff'\n.",
            b"S'open\n.",
            b"S'\\\n.",
            b"S'\\x4'\n.",
            b"X\x02\x00\x00\x00\xc3\xa9.",
            b"X\x03\x00\x00\x00\xed\xa0\x80.",
            b"\x8d\x01\x00\x00\x00\x00\x00\x00\x00a.",
            b"C\x02\xff'.",
            b"B\x01\x00\x00\x00a.",
            b"\x96\x01\x00\x00\x00\x00\x00\x00\x00a.",
        ],
        &Limits::REQUEST,
        expect![[r#"
            ['a\nb€😀�é']
            ['\\\\u0041 \\x \\u12 \\']
            ["a'bAA\x00\n\\\\q"]
            ["it's"]
            ['é�']
            byte 0 of the pickle: not a quoted text
            byte 0 of the pickle: not a quoted text
            byte 0 of the pickle: not a quoted text
            ['é']
            ['���']
            ['a']
            [b"\xff'"]
            [b'a']
            [b'a']
        "#]],
    );
}

#[test]
fn numbers_in_all_forms() {
    check(
        &[
            b"I01\n.",
            b"I00\n.",
            b"I1\n.",
            b"I-12\n.",
            b"I\n.",
            b"I9223372036854775808\n.",
            b"L12L\n.",
            b"L-12\n.",
            b"J\xff\xff\xff\xff.",
            b"K\xff.",
            b"M\xff\xff.",
            b"\x8a\x00.",
            b"\x8a\x01\xff.",
            b"\x8a\x08\x00\x00\x00\x00\x00\x00\x00\x80.",
            b"\x8a\x09\x00\x00\x00\x00\x00\x00\x00\x80\x00.",
            b"\x8b\x02\x00\x00\x00\x00\x80.",
            b"F1.5\n.",
            b"F-inf\n.",
            b"FNaN\n.",
            b"F1e16\n.",
            b"F0.00001\n.",
            b"G?\xf8\x00\x00\x00\x00\x00\x00.",
            b"N.",
            b"\x88.",
            b"\x89.",
        ],
        &Limits::REQUEST,
        expect![[r#"
            [True]
            [False]
            [1]
            [-12]
            byte 0 of the pickle: not a number of at most 64 bits
            byte 0 of the pickle: not a number of at most 64 bits
            [12]
            [-12]
            [-1]
            [255]
            [65535]
            [0]
            [-1]
            [-9223372036854775808]
            byte 0 of the pickle: not a number of at most 64 bits
            [-32768]
            [1.5]
            [-inf]
            [nan]
            [1e+16]
            [1e-05]
            [1.5]
            [None]
            [True]
            [False]
        "#]],
    );
}

#[test]
fn containers_in_all_forms() {
    check(
        &[
            b"].",
            b"(l.",
            b"(K\x01K\x02l.",
            b"]K\x01aK\x02a.",
            b").",
            b"(t.",
            b"K\x01\x85.",
            b"K\x01K\x02\x86.",
            b"K\x01K\x02K\x03\x87.",
            b"(K\x01K\x02K\x03K\x04t.",
            b"}.",
            b"(K\x01Nd.",
            b"}K\x01Ns.",
            b"}(K\x01NK\x02Nu.",
            b"\x8f(K\x01K\x02\x90.",
            b"(K\x03\x91.",
            b"\x8f.",
            // A list that grows after it was remembered grows everywhere.
            b"(]q\x00h\x00K\x01at.",
            b"(]\x94h\x00K\x01at.",
            b"(](K\x01e2t.",
            // Things put and thrown away.
            b"N(K\x01K\x021.",
            b"NK\x010.",
            b"N(0.",
        ],
        &Limits::REQUEST,
        expect![[r#"
            [[]]
            [[]]
            [[1, 2]]
            [[1, 2]]
            [()]
            [()]
            [(1,)]
            [(1, 2)]
            [(1, 2, 3)]
            [(1, 2, 3, 4)]
            [{}]
            [{1: None}]
            [{1: None}]
            [{1: None, 2: None}]
            [{1, 2}]
            [{3}]
            [set()]
            [([1], [1])]
            [([1], [1])]
            [([1], [1])]
            [None]
            [None]
            [None]
        "#]],
    );
}

#[test]
fn code_is_refused() {
    check(
        &[
            b"cos\nsystem\n(S'true'\ntR.",
            b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R.",
            b"(ios\nsystem\n.",
            b"(cos\nsystem\nS'true'\no.",
            b"NNb.",
            b"N)\x81.",
            b"N)}\x92.",
            b"P1\n.",
            b"NQ.",
            b"\x82\x01.",
            b"\x97.",
            b"\x80\x06N.",
        ],
        &Limits::REQUEST,
        expect![[r#"
            byte 0 of the pickle: opcode 0x63 is not plain data; send lists, texts and numbers
            byte 14 of the pickle: opcode 0x93 is not plain data; send lists, texts and numbers
            byte 1 of the pickle: opcode 0x69 is not plain data; send lists, texts and numbers
            byte 1 of the pickle: opcode 0x63 is not plain data; send lists, texts and numbers
            byte 2 of the pickle: opcode 0x62 is not plain data; send lists, texts and numbers
            byte 2 of the pickle: opcode 0x81 is not plain data; send lists, texts and numbers
            byte 3 of the pickle: opcode 0x92 is not plain data; send lists, texts and numbers
            byte 0 of the pickle: opcode 0x50 is not plain data; send lists, texts and numbers
            byte 1 of the pickle: opcode 0x51 is not plain data; send lists, texts and numbers
            byte 0 of the pickle: opcode 0x82 is not plain data; send lists, texts and numbers
            byte 0 of the pickle: opcode 0x97 is not plain data; send lists, texts and numbers
            byte 0 of the pickle: protocol 6 is not known; 0 to 5 are
        "#]],
    );
    check(
        &[
            b"K\x01cbuiltins\nValueError\nS'no'\n\x85R\x86.",
            b"\x8c\x08builtins\x8c\x08KeyError\x93)R.",
            b"cbuiltins\nValueError\n.",
            b"(cbuiltins\nValueError\nl.",
            b"cos\nsystem\nS'true'\nR.",
            b"NN\x93.",
            b"NN\x86(tR.",
            b"cos\nsystem\nNb.",
        ],
        &Limits::REPLY,
        expect![[r#"
            [(1, ValueError('no'))]
            [KeyError()]
            byte 21 of the pickle: opcode 0x63 does not fit the value on the stack
            byte 23 of the pickle: opcode 0x63 does not fit the value on the stack
            byte 19 of the pickle: opcode 0x52 does not fit the value on the stack
            byte 2 of the pickle: opcode 0x93 does not fit the value on the stack
            byte 5 of the pickle: opcode 0x52 does not fit the value on the stack
            byte 12 of the pickle: opcode 0x62 is not plain data; send lists, texts and numbers
        "#]],
    );
}

#[test]
fn mistakes_on_the_stack() {
    check(
        &[
            b"",
            b".",
            b"N",
            b"(.",
            b"N(.",
            b"a.",
            b"]a.",
            b"](a.",
            b"Nea.",
            b")K\x01a.",
            b"](K\x01u.",
            b"}(K\x01u.",
            b"(K\x01d.",
            b"NNs.",
            b"\x8f(K\x01e.",
            b"0.",
            b"1.",
            b"2.",
            b"\x87.",
            b"t.",
            b"h\x00.",
            b"Nq\x05h\x04.",
            b"q\x00.",
            b"gx\n.",
        ],
        &Limits::REQUEST,
        expect![[r#"
            byte 0 of the pickle: it ends too early
            byte 0 of the pickle: opcode 0x2e finds too little on the stack
            byte 1 of the pickle: it ends too early
            byte 1 of the pickle: opcode 0x2e finds too little on the stack
            byte 2 of the pickle: opcode 0x2e finds too little on the stack
            byte 0 of the pickle: opcode 0x61 finds too little on the stack
            byte 1 of the pickle: opcode 0x61 finds too little on the stack
            byte 2 of the pickle: opcode 0x61 finds too little on the stack
            byte 1 of the pickle: opcode 0x65 finds too little on the stack
            byte 3 of the pickle: opcode 0x61 does not fit the value on the stack
            byte 4 of the pickle: opcode 0x75 does not fit the value on the stack
            byte 4 of the pickle: opcode 0x75 finds too little on the stack
            byte 3 of the pickle: opcode 0x64 finds too little on the stack
            byte 2 of the pickle: opcode 0x73 finds too little on the stack
            byte 4 of the pickle: opcode 0x65 does not fit the value on the stack
            byte 0 of the pickle: opcode 0x30 finds too little on the stack
            byte 0 of the pickle: opcode 0x31 finds too little on the stack
            byte 0 of the pickle: opcode 0x32 finds too little on the stack
            byte 0 of the pickle: opcode 0x87 finds too little on the stack
            byte 0 of the pickle: opcode 0x74 finds too little on the stack
            byte 0 of the pickle: number 0 was never remembered
            byte 3 of the pickle: number 4 was never remembered
            byte 0 of the pickle: opcode 0x71 finds too little on the stack
            byte 0 of the pickle: not a number of at most 64 bits
        "#]],
    );
}

#[test]
fn bombs() {
    let deep = 100_000;
    let doubled = [b"N".as_slice(), &b"2\x86".repeat(60), b"."].concat();
    let remembered = {
        let mut pickle = b"(]q\x00".to_vec();
        for level in 0..60u8 {
            pickle.extend([b'(', b'h', level, b'h', level, b'l', b'q', level + 1]);
        }
        [pickle, b"t.".to_vec()].concat()
    };
    let long_text = {
        let len = 500_000u32;
        let mut pickle = b"(X".to_vec();
        pickle.extend(len.to_le_bytes());
        pickle.extend(b"x".repeat(500_000));
        pickle.extend(b"2".repeat(10_000));
        [pickle, b"t.".to_vec()].concat()
    };
    check(
        &[
            &[b"]".repeat(deep), b"a".repeat(deep - 1), b".".to_vec()].concat(),
            &[b"(".repeat(deep), b"l".repeat(deep), b".".to_vec()].concat(),
            &[b")".to_vec(), b"\x85".repeat(deep), b".".to_vec()].concat(),
            &doubled,
            &remembered,
            &long_text,
            // A list in itself, and a thousand times.
            b"]q\x00h\x00a.",
            &[b"]q\x00(".as_slice(), &b"h\x00".repeat(1000), b"e."].concat(),
            // Lengths beyond all bounds.
            b"X\xff\xff\xff\xffx.",
            b"\x8d\xff\xff\xff\xff\xff\xff\xff\xffx.",
            b"\x8b\xff\xff\xff\x7fx.",
            b"\x95\xff\xff\xff\xff\xff\xff\xff\xffN.",
            b"Nr\xff\xff\xff\xff.",
            b"Np99999999999999999999\n.",
            &b"N".repeat(1 << 18),
            &b"N".repeat((1 << 20) + 1),
        ],
        &Limits::REQUEST,
        expect![[r#"
            byte 199999 of the pickle: more than 64 values inside each other
            byte 200000 of the pickle: more than 64 values inside each other
            byte 100001 of the pickle: more than 64 values inside each other
            byte 121 of the pickle: more than 131072 values
            byte 485 of the pickle: more than 131072 values
            byte 510007 of the pickle: more than 1048576 bytes of text
            byte 6 of the pickle: more than 64 values inside each other
            byte 2005 of the pickle: more than 64 values inside each other
            byte 0 of the pickle: it ends too early
            byte 0 of the pickle: it ends too early
            byte 0 of the pickle: it ends too early
            [None]
            byte 1 of the pickle: more than 131072 remembered values
            byte 1 of the pickle: not a number of at most 64 bits
            byte 131072 of the pickle: more than 131072 values
            byte 0 of the pickle: more than 1048576 bytes
        "#]],
    );
    // One long tuple of arguments, called ten thousand times.
    let mut calls = b"(cbuiltins\nstr\nq\x000(".to_vec();
    calls.extend(b"N".repeat(10_000));
    calls.extend(b"tq\x010");
    calls.extend(b"h\x00h\x01R".repeat(10_000));
    calls.extend(b"t.");
    let limits = Limits {
        calls: true,
        ..Limits::REQUEST
    };
    check(
        &[&calls],
        &limits,
        expect![[r#"
            byte 60024 of the pickle: more than 131072 values
        "#]],
    );
}

#[test]
fn every_beginning_and_every_changed_byte_is_survived() {
    let value = sample();
    let pickle = encode(&value);
    for len in 0..pickle.len() {
        let short = pickle.get(..len).expect("a prefix");
        assert!(decode(short, &Limits::REPLY).is_err(), "{len}");
    }
    for at in 0..pickle.len() {
        for byte in 0..=u8::MAX {
            let mut changed = pickle.clone();
            changed[at] = byte;
            // Either is right; neither may panic.
            decode(&changed, &Limits::REPLY).ok();
        }
    }
}

/// One of everything.
fn sample() -> Value {
    Value::Tuple(vec![
        Value::Int(1),
        Value::List(vec!["a".into(), "é'\"\n\u{202e}".into(), Value::None]),
        Value::Dict(vec![("k".into(), Value::Float(1.5))]),
        Value::Set(vec![true.into()]),
        Value::Bytes(vec![0, 255]),
        Value::Call {
            class: "builtins.ValueError".into(),
            args: vec!["x".repeat(30).into()],
        },
    ])
}

/// A text that tries to end the message, for every length of the text around it.
#[test]
fn no_text_ends_its_message() {
    for before in 0..70 {
        for after in 0..70 {
            for part in [
                "<F2B_END_COMMAND>",
                "F2B_END_COMMAND>",
                "END_COMMAND>é\n\\u",
            ] {
                let text = "x".repeat(before) + part + &"\u{1f600}".repeat(after);
                let value = Value::List(vec!["<F2B_".into(), text.into()]);
                let pickle = encode(&value);
                assert!(
                    memmem::find(&pickle, END).is_none(),
                    "{before} {part} {after}"
                );
                assert_eq!(decode(&pickle, &Limits::REPLY), Ok(value));
            }
        }
    }
}

/// Any plain value whose keys Python can hash and whose order Python keeps.
fn values() -> impl Strategy<Value = Value> {
    let text = prop_oneof![
        "[ -~]{0,20}",
        "[<F2B_ENDCOMA>]{0,40}",
        "(x{0,3}<F2B_END_COMMAND>y{0,3}){1,3}",
        "[\n\r\t\\\\'\"é€日😀\u{1}\u{7f}]{0,20}",
        "a{250,260}",
    ];
    let key = prop_oneof![
        text.clone().prop_map(Value::Str),
        any::<i64>().prop_map(Value::Int)
    ];
    let leaf = prop_oneof![
        Just(Value::None),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::Int),
        any::<i8>().prop_map(|n| Value::Int(n.into())),
        any::<f64>().prop_map(Value::Float),
        (-20i32..20).prop_map(|e| Value::Float(10f64.powi(e))),
        text.prop_map(Value::Str),
        any::<Vec<u8>>().prop_map(Value::Bytes),
    ];
    leaf.prop_recursive(5, 40, 6, move |inner| {
        let pair = (key.clone(), inner.clone());
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::List),
            prop::collection::vec(inner, 0..6).prop_map(Value::Tuple),
            prop::collection::vec(key.clone(), 0..2).prop_map(Value::Set),
            prop::collection::vec(pair, 0..2).prop_map(Value::Dict),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read(value in values()) {
        let pickle = encode(&value);
        let back = decode(&pickle, &Limits::REQUEST).expect("our own pickle");
        // NaN is not equal to itself; its bytes are.
        prop_assert_eq!(encode(&back), pickle);
        prop_assert_eq!(back.to_string(), value.to_string());
    }

    #[test]
    fn noise_is_survived(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        decode(&bytes, &Limits::REPLY).ok();
    }

    /// Noise in which most bytes are opcodes that mean something.
    #[test]
    fn opcodes_in_any_order_are_survived(
        bytes in prop::collection::vec(
            prop_oneof![
                8 => prop::sample::select(b"((()]}N12aelstdu\x85\x86\x87\x8f\x90\x91\x94R\x93".to_vec()),
                4 => prop::sample::select(b"qhKUC\x8c\x00\x01\x02".to_vec()),
                1 => any::<u8>(),
            ],
            0..400,
        )
    ) {
        let bytes = [bytes.as_slice(), b"."].concat();
        if let Ok(value) = decode(&bytes, &Limits::REPLY) {
            let pickle = encode(&value);
            let back = decode(&pickle, &Limits::REPLY).expect("our own pickle");
            prop_assert_eq!(encode(&back), pickle);
        }
    }
}

/// Loads each line, as Python does; classes cannot be found.
const LOADS_NOISE: &str = "
import io, pickle, sys
class Plain(pickle.Unpickler):
    def find_class(self, module, name):
        raise pickle.UnpicklingError('class')
for line in sys.stdin:
    try:
        print(repr([Plain(io.BytesIO(bytes.fromhex(line)), encoding='utf-8', errors='replace').load()]))
    except Exception as error:
        print('error', repr(str(error)))
";

#[test]
fn python_and_we_agree_about_noise() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let byte = prop_oneof![
        10 => prop::sample::select(b"((()]N12aelt\x85\x86\x87\x94".to_vec()),
        4 => prop::sample::select(b"K\x05h\x00\x01q\x02j".to_vec()),
        // Under a high number, Python remembers at the cost of gigabytes; and
        // we print a frozen set as a set.
        1 => any::<u8>().prop_filter("known", |byte| {
            *byte != op::LONG_BINPUT && *byte != op::FROZENSET
        }),
    ];
    let noise = prop::collection::vec(byte, 0..14);
    let pickles: Vec<Vec<u8>> = (0..20000)
        .map(|_| {
            let bytes = noise.new_tree(&mut runner).expect("noise").current();
            [bytes.as_slice(), b"."].concat()
        })
        .collect();
    let input: Vec<String> = pickles.iter().map(|p| to_hex(p) + "\n").collect();
    let printed = python(LOADS_NOISE, &input.concat());
    assert_eq!(printed.len(), pickles.len());
    let mut loaded = 0;
    for (pickle, printed) in pickles.iter().zip(printed) {
        let shown = pickle.escape_ascii();
        match (decode(pickle, &Limits::REQUEST), printed.as_str()) {
            (Ok(value), printed) if !printed.starts_with("error") => {
                loaded += 1;
                assert_eq!(Value::List(vec![value]).to_string(), printed, "{shown}");
            }
            // We put U+FFFD where Python gives up.
            (Ok(_), printed) => assert!(printed.contains("codec can't decode"), "{shown}"),
            (Err(_), printed) if printed.starts_with("error") => {}
            // Python adds nothing to what is no list without a complaint, and
            // remembers under any number.
            (Err(error), printed) => assert!(
                matches!(error.kind, PickleErrorKind::Kind(op::APPENDS))
                    || matches!(error.kind, PickleErrorKind::Limit { .. }),
                "{shown}: {error}, but {printed}"
            ),
        }
    }
    assert!(loaded > 300, "only {loaded} could be loaded");
}

const LOADS: &str = "
import pickle, sys
for line in sys.stdin:
    print(repr([pickle.loads(bytes.fromhex(line))]))
";

#[test]
fn python_reads_what_we_write() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let values: Vec<Value> = (0..500)
        .map(|_| {
            let tree = values().new_tree(&mut runner).expect("a value");
            Value::List(vec![tree.current()])
        })
        .chain([Value::List(vec![sample_for_python()])])
        .collect();
    let pickles: Vec<String> = values
        .iter()
        .map(|value| match value {
            Value::List(one) => to_hex(&encode(&one[0])) + "\n",
            _ => unreachable!("made above"),
        })
        .collect();
    let printed = python(LOADS, &pickles.concat());
    assert_eq!(printed.len(), values.len());
    for (value, printed) in values.iter().zip(printed) {
        assert_eq!(value.to_string(), printed);
    }
}

/// As [`sample`], with what Python can keep in a set and in order.
fn sample_for_python() -> Value {
    let error = Value::Call {
        class: "builtins.ValueError".into(),
        args: vec!["it's <F2B_END_COMMAND>".into(), Value::Int(3)],
    };
    let long = Value::from(vec!["x".repeat(70_000)]);
    let many: Vec<i64> = (0..3000).collect();
    Value::Tuple(vec![Value::Int(1), error, long, many.into(), sample_text()])
}

fn sample_text() -> Value {
    "\u{a0}\u{ad}\u{2028}\u{200b}\u{202e}\u{feff}\u{e000}é€😀".into()
}

const DUMPS: &str = r#"
import pickle, sys
values = [
    None, True, False, 0, 1, -1, 255, 256, 65535, 65536, -2**31, 2**31, 2**63 - 1, -2**63,
    0.0, -0.0, 1.5, 1e16, 1e-5, 1e300, float("inf"), float("-inf"), float("nan"),
    "", "a", "a'b\"c", "é€😀", "back\\slash \\u0041", "line\nbreak\r\ttab\0", "x" * 300,
    [], [1], list(range(2500)), (), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), {}, {"a": 1, 2: [3]},
    {str(n): n for n in range(2500)}, ["set", "sshd", "banip", "192.0.2.7", "192.0.2.7"],
    [["set", "syslogsocket", "auto"], ["add", "sshd", "auto"], ["set", "sshd", "maxretry", 5]],
]
shared = ["same", "same"]
values.append([shared, shared, (shared, {"k": shared})])
modern = [b"", b"x'\xff", b"y" * 300, [b"z", b"z"]]
newest = [{1}, set(), [{1}, {"a"}], frozenset([7])]
for protocol in range(6):
    for value in values + modern * (protocol >= 3) + newest * (protocol >= 4):
        shown = value if not isinstance(value, frozenset) else set(value)
        print(pickle.dumps(value, protocol).hex(), repr([shown]))
print(pickle.dumps(bytearray(b"x"), 5).hex(), [b"x"])
"#;

#[test]
fn we_read_what_python_writes() {
    let lines = python(DUMPS, "");
    assert!(lines.len() > 250, "{} lines", lines.len());
    for line in lines {
        let (pickle, printed) = line.split_once(' ').expect("two columns");
        let value = decode(&from_hex(pickle), &Limits::REQUEST).expect(printed);
        assert_eq!(Value::List(vec![value]).to_string(), printed);
    }
}

/// Python's old protocols have sets and bytes only as calls; those are refused.
#[test]
fn sets_and_bytes_of_old_protocols_are_refused() {
    let script = "
import pickle
for protocol in range(6):
    for value in [{1}, b'x', ValueError('x'), 2**64]:
        print(protocol, pickle.dumps(value, protocol).hex())
";
    let refused: Vec<String> = python(script, "")
        .iter()
        .map(|line| {
            let (protocol, pickle) = line.split_once(' ').expect("two columns");
            match decode(&from_hex(pickle), &Limits::REQUEST) {
                Ok(value) => format!("{protocol} {}\n", Value::List(vec![value])),
                Err(error) => format!("{protocol} {}\n", error.kind),
            }
        })
        .collect();
    expect![[r#"
        0 opcode 0x63 is not plain data; send lists, texts and numbers
        0 opcode 0x63 is not plain data; send lists, texts and numbers
        0 opcode 0x63 is not plain data; send lists, texts and numbers
        0 not a number of at most 64 bits
        1 opcode 0x63 is not plain data; send lists, texts and numbers
        1 opcode 0x63 is not plain data; send lists, texts and numbers
        1 opcode 0x63 is not plain data; send lists, texts and numbers
        1 not a number of at most 64 bits
        2 opcode 0x63 is not plain data; send lists, texts and numbers
        2 opcode 0x63 is not plain data; send lists, texts and numbers
        2 opcode 0x63 is not plain data; send lists, texts and numbers
        2 not a number of at most 64 bits
        3 opcode 0x63 is not plain data; send lists, texts and numbers
        3 [b'x']
        3 opcode 0x63 is not plain data; send lists, texts and numbers
        3 not a number of at most 64 bits
        4 [{1}]
        4 [b'x']
        4 opcode 0x93 is not plain data; send lists, texts and numbers
        4 not a number of at most 64 bits
        5 [{1}]
        5 [b'x']
        5 opcode 0x93 is not plain data; send lists, texts and numbers
        5 not a number of at most 64 bits
    "#]]
    .assert_eq(&refused.concat());
}
