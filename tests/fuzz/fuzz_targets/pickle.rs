//! Any bytes as a client's stream: framing, decoding, and writing back.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringfence::control::Request;
use ringfence::control::frame::{END, Frame, Frames};
use ringfence::control::pickle::{Limits, decode, encode};

fuzz_target!(|bytes: &[u8]| {
    let mut frames = Frames::new(1000);
    for piece in bytes.chunks(7) {
        frames.push(piece);
        while let Some(frame) = frames.next_frame() {
            if let Frame::Message(message) = frame {
                examine(message);
            }
        }
    }
    examine(bytes);
});

/// What can be read can be written, and is the same when it is read again.
fn examine(bytes: &[u8]) {
    let Ok(value) = decode(bytes, &Limits::REPLY) else {
        return;
    };
    let pickle = encode(&value);
    // Only raw bytes may hold the marker.
    let marked = pickle.windows(END.len()).any(|window| window == END);
    assert!(!marked || bytes.windows(4).any(|window| window == b"AND>"));
    let mut limits = Limits::REPLY;
    // Names of classes count as texts, and are written with more around them.
    limits.bytes *= 2;
    let again = decode(&pickle, &limits).expect("our own pickle");
    // Compared as bytes, since NaN is not equal to itself.
    assert_eq!(encode(&again), pickle);
    assert_eq!(again.to_string(), value.to_string());
    Request::from_value(value);
}
