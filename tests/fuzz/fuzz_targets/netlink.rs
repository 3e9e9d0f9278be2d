//! Any bytes as the kernel's answer: messages or trouble, never a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringfence::action::netlink::{Attribute, Attributes, parse};
use ringfence::action::{ipset, nftables};

/// How deep the kernel nests attributes at most.
const DEPTH_MAX: u8 = 6;

fuzz_target!(|bytes: &[u8]| {
    for message in parse(bytes).map_while(Result::ok) {
        let attributes = message.attributes();
        ipset::read_anyhow(attributes);
        nftables::read_anyhow(attributes);
        walk(attributes, DEPTH_MAX);
    }
});

fn walk(attributes: Attributes<'_>, depth: u8) {
    for attribute in attributes {
        let _read = (attribute.u8(), attribute.u32(), attribute.be32(), attribute.be64());
        let _read = attribute.text().map(str::len);
        if depth > 0 {
            walk(Attribute::nested(attribute), depth - 1);
        }
    }
}
