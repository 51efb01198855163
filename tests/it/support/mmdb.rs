//! A writer of MaxMind DB files, from the published format (MaxMind DB File Format Specification 2.0), so that no proof
//! needs a vendor's file.
//!
//! The records are JSON: whole numbers become uint32 or uint64, others doubles, the rest what it is. What was written
//! before is pointed to.

use std::{collections::HashMap, net::IpAddr};

use ipnet::IpNet;
use serde_json::{Map, Value};

/// What goes into a file.
pub struct Mmdb<'a> {
    /// `database_type`.
    pub kind: &'a str,
    /// 4 or 6. In a file of version 6, IPv4 is `::/96`, with the usual aliases to it.
    pub ip_version: u16,
    /// 24, 28 or 32.
    pub record_bits: u16,
    /// Networks and their records; the more exact one wins where they lie in each other.
    pub records: &'a [(&'a str, Value)],
}

#[derive(Clone, Copy, PartialEq)]
enum Record {
    Empty,
    Node(usize),
    /// Where in the data section.
    Data(usize),
}

type Tree = Vec<[Record; 2]>;

impl Mmdb<'_> {
    /// Version 6, 28 bits.
    pub fn new<'a>(kind: &'a str, records: &'a [(&'a str, Value)]) -> Mmdb<'a> {
        Mmdb { kind, ip_version: 6, record_bits: 28, records }
    }

    /// The file.
    pub fn bytes(&self) -> Vec<u8> {
        let mut data = Data::default();
        let mut tree = vec![[Record::Empty; 2]];
        let mut nets: Vec<(IpNet, &Value)> =
            self.records.iter().map(|(net, value)| (net.parse().unwrap(), value)).collect();
        nets.sort_by_key(|(net, _)| net.prefix_len());
        for (net, value) in nets {
            let at = data.place(value);
            let (bits, len) = self.bits(net);
            put(&mut tree, bits, len, Record::Data(at));
        }
        if self.ip_version == 6 && nets_v4(self.records) {
            let Record::Node(v4) = walk(&tree, 0, 96) else { panic!("::/96 is no node") };
            for (alias, len) in [("::ffff:0:0", 96), ("2002::", 16), ("2001::", 32)] {
                let IpAddr::V6(address) = alias.parse().unwrap() else { unreachable!() };
                put(&mut tree, address.into(), len, Record::Node(v4));
            }
        }
        let mut file = self.search_tree(&tree);
        file.extend([0; 16]);
        file.extend(data.bytes);
        file.extend(b"\xab\xcd\xefMaxMind.com");
        file.extend(self.metadata(tree.len()));
        file
    }

    /// The network's first bits, from the left of 128, and how many count.
    fn bits(&self, net: IpNet) -> (u128, u32) {
        let (address, len) = match net {
            IpNet::V4(net) if self.ip_version == 6 => {
                return (u32::from(net.network()).into(), 96 + u32::from(net.prefix_len()));
            }
            IpNet::V4(net) => (u128::from(u32::from(net.network())) << 96, net.prefix_len()),
            IpNet::V6(net) => (net.network().into(), net.prefix_len()),
        };
        (address, len.into())
    }

    fn search_tree(&self, tree: &Tree) -> Vec<u8> {
        let value = |record: Record| match record {
            Record::Empty => tree.len(),
            Record::Node(node) => node,
            Record::Data(at) => tree.len() + 16 + at,
        };
        let mut bytes = Vec::new();
        for node in tree {
            let [left, right] = node.map(|record| u32::try_from(value(record)).unwrap().to_be_bytes());
            match self.record_bits {
                24 => bytes.extend([&left[1..], &right[1..]].concat()),
                28 => bytes.extend([&left[1..], &[left[0] << 4 | right[0]], &right[1..]].concat()),
                _ => bytes.extend([left, right].concat()),
            }
        }
        bytes
    }

    fn metadata(&self, nodes: usize) -> Vec<u8> {
        let mut map = Vec::new();
        control(&mut map, 7, 9);
        for (key, kind, value) in [
            ("binary_format_major_version", 5, 2),
            ("binary_format_minor_version", 5, 0),
            ("build_epoch", 9, 1_700_000_000),
            ("ip_version", 5, u64::from(self.ip_version)),
            ("node_count", 6, nodes as u64),
            ("record_size", 5, u64::from(self.record_bits)),
        ] {
            text(&mut map, key);
            number(&mut map, kind, value);
        }
        text(&mut map, "database_type");
        text(&mut map, self.kind);
        text(&mut map, "description");
        control(&mut map, 7, 1);
        text(&mut map, "en");
        text(&mut map, "made for a test");
        text(&mut map, "languages");
        control(&mut map, 11, 1);
        text(&mut map, "en");
        map
    }
}

fn nets_v4(records: &[(&str, Value)]) -> bool {
    records.iter().any(|(net, _)| net.contains('.'))
}

fn bit(bits: u128, at: u32) -> usize {
    usize::from(bits >> (127 - at) & 1 == 1)
}

/// The record that `len` bits lead to.
fn walk(tree: &Tree, bits: u128, len: u32) -> Record {
    let mut record = Record::Node(0);
    for at in 0..len {
        let Record::Node(node) = record else { return record };
        record = tree[node][bit(bits, at)];
    }
    record
}

fn put(tree: &mut Tree, bits: u128, len: u32, record: Record) {
    let mut node = 0;
    for at in 0..len - 1 {
        let slot = bit(bits, at);
        node = match tree[node][slot] {
            Record::Node(next) => next,
            // A wider network's record goes to both halves.
            wide => {
                tree.push([wide; 2]);
                tree[node][slot] = Record::Node(tree.len() - 1);
                tree.len() - 1
            }
        };
    }
    tree[node][bit(bits, len - 1)] = record;
}

/// The data section.
#[derive(Default)]
struct Data {
    bytes: Vec<u8>,
    records: HashMap<String, usize>,
    texts: HashMap<String, usize>,
}

impl Data {
    /// Writes a record once; says where it is.
    fn place(&mut self, value: &Value) -> usize {
        if let Some(at) = self.records.get(&value.to_string()) {
            return *at;
        }
        let at = self.bytes.len();
        self.value(value);
        self.records.insert(value.to_string(), at);
        at
    }

    fn text(&mut self, value: &str) {
        if let Some(at) = self.texts.get(value) {
            return pointer(&mut self.bytes, *at);
        }
        self.texts.insert(value.to_owned(), self.bytes.len());
        text(&mut self.bytes, value);
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::String(value) => self.text(value),
            Value::Object(members) => self.map(members),
            Value::Array(list) => {
                control(&mut self.bytes, 11, list.len());
                list.iter().for_each(|value| self.value(value));
            }
            Value::Bool(flag) => control(&mut self.bytes, 14, usize::from(*flag)),
            Value::Number(value) => match value.as_u64() {
                Some(value) => number(&mut self.bytes, if value > u32::MAX.into() { 9 } else { 6 }, value),
                None => {
                    control(&mut self.bytes, 3, 8);
                    self.bytes.extend(value.as_f64().unwrap().to_be_bytes());
                }
            },
            Value::Null => panic!("the format has no null"),
        }
    }

    fn map(&mut self, members: &Map<String, Value>) {
        control(&mut self.bytes, 7, members.len());
        for (key, value) in members {
            self.text(key);
            self.value(value);
        }
    }
}

fn control(bytes: &mut Vec<u8>, kind: u8, size: usize) {
    let (short, more): (u8, Vec<u8>) = match size {
        0..29 => (u8::try_from(size).unwrap(), vec![]),
        29..285 => (29, vec![u8::try_from(size - 29).unwrap()]),
        285..65_821 => (30, u16::try_from(size - 285).unwrap().to_be_bytes().to_vec()),
        _ => (31, u32::try_from(size - 65_821).unwrap().to_be_bytes()[1..].to_vec()),
    };
    if kind > 7 {
        bytes.extend([short, kind - 7]);
    } else {
        bytes.push(kind << 5 | short);
    }
    bytes.extend(more);
}

fn text(bytes: &mut Vec<u8>, value: &str) {
    control(bytes, 2, value.len());
    bytes.extend(value.as_bytes());
}

fn number(bytes: &mut Vec<u8>, kind: u8, value: u64) {
    let digits = value.to_be_bytes();
    let digits = &digits[digits.iter().take_while(|byte| **byte == 0).count()..];
    control(bytes, kind, digits.len());
    bytes.extend(digits);
}

fn pointer(bytes: &mut Vec<u8>, at: usize) {
    let at = u32::try_from(at).unwrap();
    match at {
        0..2_048 => bytes.extend([0x20 | u8::try_from(at >> 8).unwrap(), at as u8]),
        2_048..526_336 => {
            let [_, high, middle, low] = (at - 2_048).to_be_bytes();
            bytes.extend([0x28 | high, middle, low]);
        }
        _ => {
            bytes.push(0x38);
            bytes.extend(at.to_be_bytes());
        }
    }
}

/// The control bytes are the examples of the specification; a uint64 has the extended type 2 (9 - 7), and the second
/// form of a pointer begins at 2,048.
#[test]
fn the_encoding_is_the_specifications() {
    let encoded = |write: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = Vec::new();
        write(&mut bytes);
        bytes
    };
    assert_eq!(encoded(&|bytes| control(bytes, 2, 2)), [0b0100_0010]);
    assert_eq!(encoded(&|bytes| control(bytes, 2, 80)), [0b0101_1101, 0b0011_0011]);
    assert_eq!(encoded(&|bytes| control(bytes, 2, 13_392)), [0b0101_1110, 0b0011_0011, 0b0011_0011]);
    assert_eq!(encoded(&|bytes| control(bytes, 2, 3_421_264)), [0b0101_1111, 0b0011_0011, 0b0011_0011, 0b0011_0011]);
    assert_eq!(encoded(&|bytes| number(bytes, 9, 1)), [0b0000_0001, 0b0000_0010, 1]);
    assert_eq!(encoded(&|bytes| pointer(bytes, 2_047)), [0b0010_0111, 0xff]);
    assert_eq!(encoded(&|bytes| pointer(bytes, 2_048)), [0b0010_1000, 0, 0]);
}
