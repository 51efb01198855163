//! The operator's own networks: a file of `cidr,label` lines, compiled to sorted ranges.
//!
//! An address has the labels of every network that it lies in, so `10.0.0.0/8,office` and `10.1.0.0/16,vpn` give
//! `10.1.2.3` both. A wrong line is an error that names it: a network that was meant to be known must not be missing
//! unnoticed.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::IpAddr,
    str,
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::is_canonical;
use crate::host::Addresses;

/// About two million lines.
pub(super) const FILE_BYTES_MAX: u64 = 64 << 20;
/// Labels of the whole file. They are for rules and people to tell apart.
const LABELS_MAX: usize = 256;
/// Bytes of one label; every record from that network carries it.
const LABEL_BYTES_MAX: usize = 32;
/// The heading that spreadsheets keep.
const HEADING: &str = "cidr,label";

/// Which labels each address has.
#[derive(Debug)]
pub(super) struct Networks {
    v4: Ranges<u32>,
    v6: Ranges<u128>,
    /// Label sets, each sorted; ranges refer to them by place. The first one is empty.
    sets: Vec<Vec<Box<str>>>,
    networks: usize,
}

/// Range starts, sorted; each goes on to the next one. An address before the first has no labels.
type Ranges<A> = Vec<(A, u32)>;

/// One network's labels, by their numbers.
type Labelled<A> = BTreeMap<(A, u8), BTreeSet<u16>>;

impl Networks {
    /// Reads a file's bytes.
    pub(super) fn parse(bytes: Vec<u8>) -> Result<Self, String> {
        let text = String::from_utf8(bytes).map_err(|error| {
            let line = 1 + error.as_bytes()[..error.utf8_error().valid_up_to()].iter().filter(|b| **b == b'\n').count();
            format!("line {line}: is not UTF-8")
        })?;
        let (mut v4, mut v6) = (Labelled::<u32>::new(), Labelled::<u128>::new());
        let mut labels = Labels::default();
        let lines = text.trim_start_matches('\u{feff}').lines().enumerate();
        let lines = lines.map(|(number, line)| (number + 1, line.split('#').next().unwrap_or_default().trim()));
        for (index, (number, line)) in lines.filter(|(_, line)| !line.is_empty()).enumerate() {
            if index == 0 && line.eq_ignore_ascii_case(HEADING) {
                continue;
            }
            let at_line = |problem: String| format!("line {number}: {problem}");
            let (net, numbers) = labels.read(line).map_err(at_line)?;
            match net {
                IpNet::V4(net) => v4.entry((net.network().into(), net.prefix_len())).or_default().extend(numbers),
                IpNet::V6(net) => v6.entry((net.network().into(), net.prefix_len())).or_default().extend(numbers),
            }
        }
        let networks = v4.len() + v6.len();
        let mut sets = Sets { by_numbers: BTreeMap::from([(BTreeSet::new(), 0)]) };
        let last_v4 = |start: u32, prefix: u8| Ipv4Net::new(start.into(), prefix).map(|net| net.broadcast().into());
        let last_v6 = |start: u128, prefix: u8| Ipv6Net::new(start.into(), prefix).map(|net| net.broadcast().into());
        Ok(Self {
            v4: ranges(v4, &mut sets, |a, p| last_v4(a, p).unwrap_or(a), |a| a.checked_add(1)),
            v6: ranges(v6, &mut sets, |a, p| last_v6(a, p).unwrap_or(a), |a| a.checked_add(1)),
            sets: sets.named(&labels),
            networks,
        })
    }

    /// The labels of a canonical address, sorted.
    pub(super) fn labels(&self, address: IpAddr) -> impl Iterator<Item = &str> {
        debug_assert!(is_canonical(address), "{address}");
        let set = match address {
            IpAddr::V4(address) => set_of(&self.v4, address.into()),
            IpAddr::V6(address) => set_of(&self.v6, address.into()),
        };
        self.sets.get(set).into_iter().flatten().map(|label| &**label)
    }
}

impl fmt::Display for Networks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let labels: BTreeSet<&str> = self.sets.iter().flatten().map(|label| &**label).collect();
        let labels: Vec<&str> = labels.into_iter().collect();
        write!(
            f,
            "{} networks: {}",
            self.networks,
            if labels.is_empty() { "nothing".into() } else { labels.join(", ") }
        )
    }
}

fn set_of<A: Copy + Ord>(ranges: &Ranges<A>, address: A) -> usize {
    let behind = ranges.partition_point(|(start, _)| *start <= address);
    behind.checked_sub(1).and_then(|at| ranges.get(at)).map_or(0, |(_, set)| *set as usize)
}

/// Networks lie in each other or apart, so a stack of those that are open tells the labels at every edge. They come
/// sorted by start, the wider one first.
fn ranges<A: Copy + Ord>(
    networks: Labelled<A>,
    sets: &mut Sets,
    last: impl Fn(A, u8) -> A,
    next: impl Fn(A) -> Option<A>,
) -> Ranges<A> {
    let mut ranges: Ranges<A> = Vec::with_capacity(networks.len() * 2);
    let mut open: Vec<(A, BTreeSet<u16>)> = Vec::new();
    let mut edge = |open: &[(A, BTreeSet<u16>)], at: A| {
        let set = open.last().map_or(0, |(_, numbers)| sets.number(numbers));
        // What begins where another ends takes its place.
        if ranges.last().is_some_and(|(start, _)| *start == at) {
            ranges.pop();
        }
        ranges.push((at, set));
    };
    let close = |open: &mut Vec<(A, BTreeSet<u16>)>, before: Option<A>, edge: &mut dyn FnMut(&[_], A)| {
        while let Some((end, _)) = open.last().filter(|(end, _)| before.is_none_or(|before| *end < before)) {
            let after = next(*end);
            open.pop();
            if let Some(after) = after {
                edge(open, after);
            }
        }
    };
    for ((start, prefix), mut numbers) in networks {
        close(&mut open, Some(start), &mut edge);
        if let Some((_, outer)) = open.last() {
            numbers.extend(outer);
        }
        open.push((last(start, prefix), numbers));
        edge(&open, start);
    }
    close(&mut open, None, &mut edge);
    ranges
}

/// The labels of a file by number.
#[derive(Default)]
struct Labels {
    numbers: BTreeMap<Box<str>, u16>,
}

impl Labels {
    /// `cidr,label[,label…]`.
    fn read(&mut self, line: &str) -> Result<(IpNet, BTreeSet<u16>), String> {
        let mut cells = line.split(',').map(str::trim);
        let net = cells.next().unwrap_or_default().parse::<Addresses>()?.network();
        let numbers = cells.map(|label| self.number(label)).collect::<Result<BTreeSet<u16>, String>>()?;
        if numbers.is_empty() { Err("has no label; write cidr,label".to_owned()) } else { Ok((net, numbers)) }
    }

    fn number(&mut self, label: &str) -> Result<u16, String> {
        let is_label = (1..=LABEL_BYTES_MAX).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-');
        if !is_label {
            return Err(format!("the label {label:?} is not 1 to {LABEL_BYTES_MAX} of a-z 0-9 _ -"));
        }
        if let Some(number) = self.numbers.get(label) {
            return Ok(*number);
        }
        let number = u16::try_from(self.numbers.len()).ok().filter(|number| usize::from(*number) < LABELS_MAX);
        let number = number.ok_or_else(|| format!("there are more than {LABELS_MAX} different labels"))?;
        self.numbers.insert(label.into(), number);
        Ok(number)
    }
}

/// Sets of label numbers by their place.
struct Sets {
    by_numbers: BTreeMap<BTreeSet<u16>, u32>,
}

impl Sets {
    fn number(&mut self, numbers: &BTreeSet<u16>) -> u32 {
        if let Some(set) = self.by_numbers.get(numbers) {
            return *set;
        }
        // There are fewer sets than lines.
        let set = u32::try_from(self.by_numbers.len()).unwrap_or(0);
        self.by_numbers.insert(numbers.clone(), set);
        set
    }

    fn named(self, labels: &Labels) -> Vec<Vec<Box<str>>> {
        let mut sets = vec![Vec::new(); self.by_numbers.len()];
        for (numbers, set) in self.by_numbers {
            // By name: the numbers are in the order of the file.
            sets[set as usize] = labels
                .numbers
                .iter()
                .filter(|(_, number)| numbers.contains(number))
                .map(|(name, _)| name.clone())
                .collect();
        }
        sets
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<Networks, String> {
        Networks::parse(text.as_bytes().to_vec())
    }

    fn labels(networks: &Networks, address: &str) -> String {
        networks.labels(address.parse().unwrap()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn an_address_has_the_labels_of_every_network_it_lies_in() {
        let text = "\u{feff}# ours\n\nCIDR,Label\r\n10.0.0.0/8,office\n10.1.0.0/16 , vpn, guest # two\n10.1.0.0/16,vpn\n\
                    10.1.2.3,blocked\n2001:db8::/32,office\n2001:db8:1::/48,vpn\n::ffff:192.0.2.0/120,mapped\n\
                    0.0.0.0/1,low\n255.255.255.255/32,last\n";
        let networks = parse(text).unwrap();
        for (address, expected) in [
            ("10.0.0.0", "low office"),
            ("9.255.255.255", "low"),
            ("10.1.0.0", "guest low office vpn"),
            ("10.1.2.2", "guest low office vpn"),
            ("10.1.2.3", "blocked guest low office vpn"),
            ("10.1.2.4", "guest low office vpn"),
            ("10.2.0.0", "low office"),
            ("10.255.255.255", "low office"),
            ("11.0.0.0", "low"),
            ("127.255.255.255", "low"),
            ("128.0.0.0", ""),
            ("192.0.2.77", "mapped"),
            ("255.255.255.254", ""),
            ("255.255.255.255", "last"),
            ("2001:db8::1", "office"),
            ("2001:db8:1::1", "office vpn"),
            ("2001:db8:1:ffff:ffff:ffff:ffff:ffff", "office vpn"),
            ("2001:db8:2::", "office"),
            ("2001:db9::", ""),
            ("::", ""),
        ] {
            assert_eq!(labels(&networks, address), expected, "{address}");
        }
        assert_eq!(networks.to_string(), "8 networks: blocked, guest, last, low, mapped, office, vpn");
    }

    #[test]
    fn a_wrong_line_is_named() {
        for (text, expected) in [
            ("10.0.0.0/8,office\n\n10.0.0/8,x", "line 3: \"10.0.0/8\" is no network"),
            ("10.0.0.1/8,office", "line 1: 10.0.0.1/8 has bits behind its prefix; write 10.0.0.0/8"),
            ("10.0.0.0/33,office", "line 1: \"10.0.0.0/33\" is no network"),
            ("10.0.0.0/8", "line 1: has no label"),
            ("10.0.0.0/8,", "line 1: the label \"\" is not"),
            ("10.0.0.0/8,Office", "line 1: the label \"Office\" is not 1 to 32 of a-z 0-9 _ -"),
            ("10.0.0.0/8,office\ncidr,label", "line 2: \"cidr\" is no network"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
        }
        let error = Networks::parse(b"10.0.0.0/8,office\n\xff".to_vec()).unwrap_err();
        assert_eq!(error, "line 2: is not UTF-8");
        let many: String = (0..=LABELS_MAX).map(|n| format!("10.0.0.0/8,l{n}\n")).collect();
        assert!(parse(&many).unwrap_err().starts_with("line 257: there are more than 256"));
        assert_eq!(labels(&parse("").unwrap(), "192.0.2.1"), "");
    }

    proptest! {
        /// Against the definition: every network is asked whether it holds the address.
        #[test]
        fn ranges_say_what_the_lines_say(
            lines in prop::collection::vec((any::<u32>(), 0u8..=32, 0u8..4), 0..40),
            wide in prop::collection::vec((any::<u128>(), 0u8..=128, 0u8..4), 0..20),
            near in any::<prop::sample::Index>(),
            step in -2i64..=2,
        ) {
            // Few bits, so that networks meet and lie in each other.
            let v4 = lines.iter().map(|(a, p, l)| (IpNet::new(IpAddr::V4((a & 0x8100_0003).into()), *p), l));
            let v6 = wide.iter().map(|(a, p, l)| (IpNet::new(IpAddr::V6((a & (3 << 126 | 7)).into()), *p), l));
            let nets: Vec<(IpNet, String)> =
                v4.chain(v6).map(|(net, label)| (net.unwrap().trunc(), format!("l{label}"))).collect();
            let text: String = nets.iter().map(|(net, label)| format!("{net},{label}\n")).collect();
            let networks = parse(&text).unwrap();
            let edges: Vec<IpAddr> = nets.iter().flat_map(|(net, _)| [net.network(), net.broadcast()]).collect();
            let edge = if edges.is_empty() { IpAddr::from([0, 0, 0, 0]) } else { *near.get(&edges) };
            let address = match edge {
                IpAddr::V4(a) => IpAddr::V4(u32::from(a).wrapping_add_signed(i32::try_from(step).unwrap()).into()),
                IpAddr::V6(a) => IpAddr::V6(u128::from(a).wrapping_add_signed(step.into()).into()),
            };
            prop_assume!(is_canonical(address) && nets.iter().all(|(net, _)| is_canonical(net.network())));
            let expected: BTreeSet<&str> =
                nets.iter().filter(|(net, _)| net.contains(&address)).map(|(_, label)| label.as_str()).collect();
            prop_assert_eq!(networks.labels(address).collect::<Vec<_>>(), expected.into_iter().collect::<Vec<_>>());
        }
    }
}
