//! What the bytes of a log mean, by `logencoding`, against Python's own codecs: fail2ban
//! decodes with these. Every byte, and every pair of bytes of the encodings that need two.
//!
//! Where we differ on purpose: the encodings are those of the web, so
//! - `supersets`: what Python has no meaning for may have one in ours, which is then the
//!   later, larger set under the same name (GBK, CP949, the unused bytes of ISO 8859 and of
//!   Windows' sets);
//! - `of_the_web`: a few characters that vendors read otherwise, above all in Big5's private
//!   part; and ISO 8859-9 is Windows-1254, which has characters for its control codes;
//! - `one_or_two`: what has no meaning is U+FFFD, in which number is not the same.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::{Command, Stdio};

use ringfence::frame::charset::{Charset, Transcoder};

/// Reads names and lines of bytes in hexadecimal; gives what the bytes mean, the same way.
const CODEC: &str = r#"
import sys
for line in sys.stdin:
    name, text = line.split()
    print(bytes.fromhex(text).decode(name, "replace").encode("utf-8", "replace").hex())
"#;

fn python(lines: &str) -> Vec<String> {
    let mut child = Command::new("/usr/bin/python3")
        .args(["-c", CODEC])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3");
    let mut input = child.stdin.take().expect("its input");
    let lines = lines.to_owned();
    let writer = std::thread::spawn(move || input.write_all(lines.as_bytes()));
    let output = child.wait_with_output().expect("its output");
    writer.join().expect("a writer").expect("all of it");
    let text = String::from_utf8(output.stdout).expect("ascii");
    text.lines().map(str::to_owned).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn ours(charset: Charset, bytes: &[u8]) -> String {
    let mut room = String::new();
    let block = [bytes, b"\n"].concat();
    let lines = Transcoder::new(charset)
        .block(&block, 1, &mut room)
        .to_vec();
    let text = String::from_utf8_lossy(&lines).into_owned();
    text.strip_suffix('\n').expect("a line").to_owned()
}

#[test]
fn bytes_mean_what_python_says() {
    let single = "ascii latin-1 iso8859_2 iso8859_3 iso8859_4 iso8859_5 iso8859_6 iso8859_7 \
        iso8859_8 iso8859_9 iso8859_10 iso8859_13 iso8859_14 iso8859_15 iso8859_16 cp1250 cp1251 \
        cp1252 cp1253 cp1254 cp1255 cp1256 cp1257 cp1258 cp866 cp874 koi8-r koi8-u mac-roman";
    let double = "gbk gb18030 big5 euc_jp shift_jis euc_kr cp949";
    let names = single.split_whitespace().map(|name| (name, false));
    let names = names.chain(double.split(' ').map(|name| (name, true)));
    let mut questions = Vec::new();
    for (name, is_double) in names {
        let charset: Charset = name.parse().expect(name);
        for byte in 0x80..=0xff_u8 {
            questions.push((name, charset, vec![b'a', byte, b'b']));
            let seconds = (0x20..=0xff_u8).step_by(3).filter(|_| is_double);
            questions.extend(seconds.map(|second| (name, charset, vec![byte, second, b'b'])));
        }
    }
    let lines: String = questions
        .iter()
        .map(|(name, _, bytes)| format!("{name} {}\n", hex(bytes)))
        .collect();
    let answers = python(&lines);
    assert_eq!(answers.len(), questions.len());
    let (mut same, mut supersets, mut of_the_web) = (0, 0, BTreeMap::new());
    for ((name, charset, bytes), theirs) in questions.iter().zip(&answers) {
        let ours = ours(*charset, bytes);
        let replaced = hex("\u{fffd}".as_bytes());
        match hex(ours.as_bytes()) == *theirs {
            true => same += 1,
            // masks supersets and one_or_two
            false if theirs.contains(&replaced) => supersets += 1,
            // mask of_the_web
            false => *of_the_web.entry(*name).or_insert(0) += 1,
        }
    }
    let known = [
        ("big5", 91),
        ("euc_jp", 3),
        ("gb18030", 5),
        ("iso8859_9", 25),
        ("koi8-u", 2),
        ("shift_jis", 1),
    ];
    assert_eq!(of_the_web, BTreeMap::from(known));
    assert!(
        same > 4 * supersets,
        "{same} the same, {supersets} that Python does not know"
    );
}
