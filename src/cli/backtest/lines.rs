//! The lines of a file of bodies, each whole or not at all.

use std::io::{self, BufRead, Read as _};

/// Longer ones are no bodies.
const LINE_BYTES_MAX: usize = 16 << 20;
/// What some editors begin a file with.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// What there is of a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    /// All of it, without spaces around it.
    Whole(&'a [u8]),
    /// More than is looked at.
    TooLong,
}

/// The next line, read into `buffer`; `number`: which, from 1. None at the end.
pub(super) fn next<'a>(
    reader: &mut impl BufRead,
    number: u64,
    buffer: &'a mut Vec<u8>,
) -> io::Result<Option<Line<'a>>> {
    buffer.clear();
    // With its LF.
    let most = LINE_BYTES_MAX as u64 + 1;
    if reader.by_ref().take(most).read_until(b'\n', buffer)? == 0 {
        return Ok(None);
    }
    if buffer.len() > LINE_BYTES_MAX && !buffer.ends_with(b"\n") {
        reader.skip_until(b'\n')?;
        return Ok(Some(Line::TooLong));
    }
    let text = buffer.strip_prefix(BYTE_ORDER_MARK).filter(|_| number == 1).unwrap_or(buffer);
    Ok(Some(Line::Whole(text.trim_ascii())))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lengths of the lines; none of those too long.
    fn lengths(file: &[u8]) -> Vec<Option<usize>> {
        let (mut reader, mut buffer) = (io::BufReader::new(file), Vec::new());
        let mut lengths = Vec::new();
        while let Some(line) = next(&mut reader, lengths.len() as u64 + 1, &mut buffer).unwrap() {
            lengths.push(match line {
                Line::Whole(text) => Some(text.len()),
                Line::TooLong => None,
            });
        }
        lengths
    }

    #[test]
    fn a_line_that_is_too_long_is_one_line() {
        for (extra, last, first) in
            [(0, "\n", Some(LINE_BYTES_MAX)), (0, "", Some(LINE_BYTES_MAX)), (1, "\n", None), (1, "", None)]
        {
            let long = vec![b'A'; LINE_BYTES_MAX + extra];
            let file = [&long, last.as_bytes()].concat();
            assert_eq!(lengths(&file), [first], "{extra} {last:?}");
        }
        let file = [&vec![b'A'; 3 * LINE_BYTES_MAX][..], b"{}\n\n {} \r\n"].concat();
        assert_eq!(lengths(&file), [None, Some(0), Some(2)]);
    }

    #[test]
    fn a_byte_order_mark_begins_a_file_and_nothing_else() {
        assert_eq!(lengths(b"\xef\xbb\xbf{}\n\xef\xbb\xbf{}\n"), [Some(2), Some(5)]);
        assert_eq!(lengths(b""), []);
    }
}
