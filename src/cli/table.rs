//! Columns of text, cut to the terminal's width. Knows nothing of what is in them.

use std::io::{IsTerminal as _, stdout};

/// Between columns.
const GAP: &str = "  ";

/// The width to cut lines to; `None` when the output is no terminal, where nothing is cut.
pub(super) fn terminal_width() -> Option<usize> {
    if !stdout().is_terminal() {
        return None;
    }
    let size = rustix::termios::tcgetwinsize(stdout()).ok()?;
    Some(usize::from(size.ws_col)).filter(|width| *width > 0)
}

/// A line of cells, each padded to its column's width (a longer cell pushes the rest to the right).
pub(super) fn line<'c>(cells: impl IntoIterator<Item = (&'c str, usize)>, width: Option<usize>) -> String {
    let mut line = String::new();
    for (cell, column) in cells {
        if !line.is_empty() {
            line.push_str(GAP);
        }
        line.push_str(&super::printable(cell));
        let padding = column.saturating_sub(cell.chars().count());
        line.extend(std::iter::repeat_n(' ', padding));
    }
    let line = line.trim_end();
    match width {
        Some(width) if line.chars().count() > width => {
            let mut cut: String = line.chars().take(width.saturating_sub(1)).collect();
            cut.push('…');
            cut
        }
        _ => line.to_owned(),
    }
}

/// Rows under their headings, every column as wide as its widest cell.
pub(super) fn table(rows: &[Vec<String>], width: Option<usize>) -> Vec<String> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|column| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0))
        .collect();
    rows.iter().map(|row| line(row.iter().map(String::as_str).zip(widths.iter().copied()), width)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align_and_lines_are_cut() {
        let rows = [vec!["a".to_owned(), "bb".to_owned()], vec!["ccc".to_owned(), "d\u{1b}[31m".to_owned()]];
        assert_eq!(table(&rows, None), ["a    bb", "ccc  d\u{fffd}[31m"]);
        assert_eq!(table(&rows, Some(5)), ["a   …", "ccc …"]);
    }
}
