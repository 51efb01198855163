//! Writes a MaxMind-format database (version 2.0 of the format): just enough for provider and place by prefix.

use std::net::IpAddr;

/// A value in the data section.
pub enum Value<'a> {
    Text(&'a str),
    Double(f64),
    U16(u16),
    U32(u32),
    U64(u64),
    Array(Vec<Value<'a>>),
    Map(Vec<(&'a str, Value<'a>)>),
}

fn control(kind: u8, size: usize, out: &mut Vec<u8>) {
    let kept = if kind > 7 { 0 } else { kind << 5 };
    out.push(kept | size.min(29) as u8);
    if kind > 7 {
        out.push(kind - 7);
    }
    if size >= 29 {
        // Nothing here is longer than 284.
        out.push((size - 29) as u8);
    }
}

/// As few bytes as hold it.
fn integer(kind: u8, value: u64, out: &mut Vec<u8>) {
    let bytes = value.to_be_bytes();
    let skip = value.leading_zeros() as usize / 8;
    control(kind, 8 - skip, out);
    out.extend_from_slice(&bytes[skip..]);
}

impl Value<'_> {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Text(text) => {
                control(2, text.len(), out);
                out.extend_from_slice(text.as_bytes());
            }
            Self::Double(value) => {
                control(3, 8, out);
                out.extend_from_slice(&value.to_be_bytes());
            }
            Self::U16(value) => integer(5, u64::from(*value), out),
            Self::U32(value) => integer(6, u64::from(*value), out),
            Self::U64(value) => integer(9, *value, out),
            Self::Array(values) => {
                control(11, values.len(), out);
                values.iter().for_each(|value| value.encode(out));
            }
            Self::Map(entries) => {
                control(7, entries.len(), out);
                for (key, value) in entries {
                    Value::Text(key).encode(out);
                    value.encode(out);
                }
            }
        }
    }
}

#[derive(Clone, Copy)]
enum Child {
    Nothing,
    Node(u32),
    /// Offset in the data section.
    Data(u32),
}

/// Prefixes and what is known of them.
pub struct Database {
    nodes: Vec<[Child; 2]>,
    data: Vec<u8>,
}

impl Database {
    pub fn new() -> Self {
        Self { nodes: vec![[Child::Nothing; 2]], data: Vec::new() }
    }

    /// Prefixes do not overlap.
    pub fn insert(&mut self, ip: IpAddr, bits: u8, value: &Value) {
        let offset = self.data.len() as u32;
        value.encode(&mut self.data);
        let (address, bits) = match ip {
            IpAddr::V4(ip) => (u128::from(u32::from(ip)), bits + 96),
            IpAddr::V6(ip) => (u128::from(ip), bits),
        };
        let mut node = 0;
        for depth in 0..bits {
            let side = (address >> (127 - depth) & 1) as usize;
            if depth + 1 == bits {
                self.nodes[node][side] = Child::Data(offset);
            } else if let Child::Node(next) = self.nodes[node][side] {
                node = next as usize;
            } else {
                self.nodes.push([Child::Nothing; 2]);
                let next = self.nodes.len() - 1;
                self.nodes[node][side] = Child::Node(next as u32);
                node = next;
            }
        }
    }

    pub fn bytes(&self, kind: &str) -> Vec<u8> {
        let count = self.nodes.len() as u32;
        let mut out = Vec::with_capacity(self.nodes.len() * 8 + self.data.len() + 512);
        for child in self.nodes.iter().flatten() {
            let record = match child {
                Child::Nothing => count,
                Child::Node(node) => *node,
                Child::Data(offset) => count + 16 + offset,
            };
            out.extend_from_slice(&record.to_be_bytes());
        }
        out.extend_from_slice(&[0; 16]);
        out.extend_from_slice(&self.data);
        out.extend_from_slice(b"\xab\xcd\xefMaxMind.com");
        let metadata = Value::Map(vec![
            ("binary_format_major_version", Value::U16(2)),
            ("binary_format_minor_version", Value::U16(0)),
            ("build_epoch", Value::U64(1_772_409_600)),
            ("database_type", Value::Text(kind)),
            ("description", Value::Map(vec![("en", Value::Text("A made-up internet"))])),
            ("ip_version", Value::U16(6)),
            ("languages", Value::Array(vec![Value::Text("en")])),
            ("node_count", Value::U32(count)),
            ("record_size", Value::U16(32)),
        ]);
        metadata.encode(&mut out);
        out
    }
}
