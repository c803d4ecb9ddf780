//! What differs between two texts, line by line and within a line.
//!
//! Invariant: every line of both texts appears once, in order, and equal lines are never marked. How marks look is
//! decided where they are shown.

use std::ops::Range;

/// More lines than this on a side are not aligned but shown as wholly different: the work is their product.
const LINES_MAX: usize = 1000;

/// A line of one side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Its text.
    pub text: String,
    /// How it relates to the other side.
    pub mark: Mark,
}

/// How a line relates to the other side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mark {
    /// It is there too.
    Same,
    /// It stands there differently; the range of characters, not bytes, is what differs.
    Changed(Range<usize>),
    /// It has no counterpart.
    Only,
}

/// Both texts, marked.
#[must_use]
pub fn sides(expected: &str, actual: &str) -> (Vec<Line>, Vec<Line>) {
    let left: Vec<&str> = expected.lines().collect();
    let right: Vec<&str> = actual.lines().collect();
    let (mut marked_left, mut marked_right) = (Vec::new(), Vec::new());
    let (mut at_left, mut at_right) = (0, 0);
    let end = (left.len(), right.len());
    for (next_left, next_right) in common_lines(&left, &right).into_iter().chain([end]) {
        let gap_left = left.get(at_left..next_left).unwrap_or_default();
        let gap_right = right.get(at_right..next_right).unwrap_or_default();
        mark_gap(gap_left, gap_right, &mut marked_left);
        mark_gap(gap_right, gap_left, &mut marked_right);
        if let (Some(line), Some(same)) = (left.get(next_left), right.get(next_right)) {
            marked_left.push(Line { text: (*line).to_owned(), mark: Mark::Same });
            marked_right.push(Line { text: (*same).to_owned(), mark: Mark::Same });
        }
        (at_left, at_right) = (next_left.saturating_add(1), next_right.saturating_add(1));
    }
    (marked_left, marked_right)
}

/// Lines between two common ones: the first of one side answers to the first of the other, and so on.
fn mark_gap(own: &[&str], others: &[&str], marked: &mut Vec<Line>) {
    for (position, line) in own.iter().enumerate() {
        let mark = others.get(position).map_or(Mark::Only, |other| Mark::Changed(changed(line, other)));
        marked.push(Line { text: (*line).to_owned(), mark });
    }
}

/// The characters of `line` between what it begins and what it ends with in common with `other`, in whole words: a word
/// of which only the end is marked reads like a riddle.
fn changed(line: &str, other: &str) -> Range<usize> {
    let (line, other): (Vec<char>, Vec<char>) = (line.chars().collect(), other.chars().collect());
    let prefix = line.iter().zip(&other).take_while(|(a, b)| a == b).count();
    let room = line.len().min(other.len()).saturating_sub(prefix);
    let suffix = line.iter().rev().zip(other.iter().rev()).take(room).take_while(|(a, b)| a == b).count();
    let (mut start, mut end) = (prefix, line.len().saturating_sub(suffix));
    let in_word = |at: usize| line.get(at).is_some_and(|character| character.is_alphanumeric());
    if start < end {
        while start > 0 && in_word(start) && in_word(start.saturating_sub(1)) {
            start = start.saturating_sub(1);
        }
        while in_word(end) && in_word(end.saturating_sub(1)) {
            end = end.saturating_add(1);
        }
    }
    start..end
}

/// Positions of a longest common subsequence.
fn common_lines(left: &[&str], right: &[&str]) -> Vec<(usize, usize)> {
    if left.len() > LINES_MAX || right.len() > LINES_MAX {
        return Vec::new();
    }
    let width = right.len().saturating_add(1);
    let mut lengths = vec![0_usize; left.len().saturating_add(1).saturating_mul(width)];
    let at = |row: usize, column: usize| row.saturating_mul(width).saturating_add(column);
    let length = |lengths: &[usize], row: usize, column: usize| lengths.get(at(row, column)).copied().unwrap_or(0);
    for (row, a) in left.iter().enumerate().rev() {
        for (column, b) in right.iter().enumerate().rev() {
            let best = if a == b {
                length(&lengths, row.saturating_add(1), column.saturating_add(1)).saturating_add(1)
            } else {
                let down = length(&lengths, row.saturating_add(1), column);
                down.max(length(&lengths, row, column.saturating_add(1)))
            };
            if let Some(cell) = lengths.get_mut(at(row, column)) {
                *cell = best;
            }
        }
    }
    let mut common = Vec::new();
    let (mut row, mut column) = (0, 0);
    while let (Some(a), Some(b)) = (left.get(row), right.get(column)) {
        if a == b {
            common.push((row, column));
            (row, column) = (row.saturating_add(1), column.saturating_add(1));
        } else if length(&lengths, row.saturating_add(1), column) >= length(&lengths, row, column.saturating_add(1)) {
            row = row.saturating_add(1);
        } else {
            column = column.saturating_add(1);
        }
    }
    common
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks(lines: &[Line]) -> String {
        lines
            .iter()
            .map(|line| match line.mark {
                Mark::Same => '=',
                Mark::Changed(_) => '~',
                Mark::Only => '!',
            })
            .collect()
    }

    #[test]
    fn lines_are_marked_where_they_differ() {
        for (expected, actual, left, right) in [
            ("a\nb\nc", "a\nb\nc", "===", "==="),
            ("a\nb\nc", "a\nx\nc", "=~=", "=~="),
            ("a\nb\nc", "a\nc", "=!=", "=="),
            ("a\nc", "a\nb\nc", "==", "=!="),
            ("a", "x\ny", "~", "~!"),
            ("", "x", "", "!"),
        ] {
            let (marked_left, marked_right) = sides(expected, actual);
            assert_eq!((marks(&marked_left).as_str(), marks(&marked_right).as_str()), (left, right));
        }
    }

    #[test]
    fn within_a_line_only_what_differs_is_marked() {
        assert_eq!(changed("Charge success", "Charge success."), 14..14);
        assert_eq!(changed("Charge success.", "Charge success"), 14..15);
        assert_eq!(changed("HTTP 400", "HTTP 404"), 5..8);
        assert_eq!(changed("id: (any value)", "id: (absent)"), 5..14);
        assert_eq!(changed("aa", "aaa"), 2..2);
        assert_eq!(changed("é1", "é2"), 0..2);
    }
}
