//! Finding the culprits in a batch that was refused as a whole. Pure: says which part to try next and is told how it
//! went; what is settled is always a prefix of the batch, so order holds and a failure half-way loses nothing.

use std::ops::Range;

/// Parts of a batch still to be tried, the first one last.
#[derive(Debug)]
pub struct Halving {
    todo: Vec<Range<usize>>,
}

impl Halving {
    /// A batch of `len` records. `part` says how many may be tried at once from an index on; one at least are.
    pub fn new(len: usize, part: impl Fn(usize) -> usize) -> Self {
        let end = |start: usize| len.min(start.saturating_add(part(start).max(1)));
        let first = (len > 0).then(|| 0..end(0));
        let parts = std::iter::successors(first, |done| (done.end < len).then(|| done.end..end(done.end)));
        let mut todo: Vec<_> = parts.collect();
        todo.reverse();
        Self { todo }
    }

    /// One part of a batch.
    pub fn of(part: Range<usize>) -> Self {
        Self { todo: if part.is_empty() { Vec::new() } else { vec![part] } }
    }

    /// What to try next; `None` when all is settled.
    pub fn next(&self) -> Option<Range<usize>> {
        self.todo.last().cloned()
    }

    /// All that is still to be tried.
    pub fn left(&self) -> Range<usize> {
        self.todo.last().map_or(0, |next| next.start)..self.todo.first().map_or(0, |last| last.end)
    }

    /// The part is settled: delivered, or a single record refused.
    pub fn settled(&mut self) {
        self.todo.pop();
    }

    /// The beginning of the part is settled, up to there.
    pub fn settled_to(&mut self, end: usize) {
        if let Some(part) = self.todo.last_mut() {
            part.start = end;
        }
    }

    /// The part, of two records at least, was refused as a whole.
    pub fn refused(&mut self) {
        if let Some(part) = self.todo.pop() {
            let middle = part.start + part.len() / 2;
            self.todo.push(middle..part.end);
            self.todo.push(part.start..middle);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Plays a receiver that refuses any part with a culprit in it: who was found, what was delivered, in how many calls.
    fn play(len: usize, part: usize, culprits: &[usize]) -> (Vec<usize>, Vec<usize>, usize) {
        let (mut found, mut delivered, mut calls) = (Vec::new(), Vec::new(), 0);
        let mut halving = Halving::new(len, |_| part);
        while let Some(part) = halving.next() {
            calls += 1;
            if !culprits.iter().any(|culprit| part.contains(culprit)) {
                delivered.extend(part);
                halving.settled();
            } else if part.len() == 1 {
                found.push(part.start);
                halving.settled();
            } else {
                halving.refused();
            }
        }
        (found, delivered, calls)
    }

    proptest! {
        #[test]
        fn exactly_the_culprits_are_found_in_few_calls(
            len in 1_usize..600,
            part in 1_usize..700,
            seeds in proptest::collection::btree_set(0_usize..600, 0..6),
        ) {
            let culprits: Vec<usize> = seeds.into_iter().filter(|seed| *seed < len).collect();
            let (found, delivered, calls) = play(len, part, &culprits);
            prop_assert_eq!(&found, &culprits);
            let innocent: Vec<usize> = (0..len).filter(|at| !culprits.contains(at)).collect();
            prop_assert_eq!(delivered, innocent, "all others, in order");
            // A culprit costs two calls a level at most, and a part of n has ceil(log2 n) levels.
            let levels = len.min(part).next_power_of_two().trailing_zeros() as usize;
            prop_assert!(calls <= len.div_ceil(part) + 2 * levels * culprits.len(), "{} calls", calls);
        }
    }

    #[test]
    fn parts_are_as_large_as_fits() {
        // From 0 three fit, from 3 none (tried alone all the same), from 4 all.
        let mut halving = Halving::new(9, |start| [3, 9, 9, 0, 99][start]);
        let parts = std::iter::from_fn(|| {
            let part = halving.next();
            halving.settled();
            part
        });
        assert_eq!(parts.collect::<Vec<_>>(), [0..3, 3..4, 4..9]);
    }

    #[test]
    fn one_culprit_in_500_costs_at_most_19_calls() {
        // 1 for the whole, then 2 a level over ceil(log2 500) = 9 levels.
        for culprit in [0, 1, 249, 250, 499] {
            let (found, _, calls) = play(500, usize::MAX, &[culprit]);
            assert_eq!(found, [culprit]);
            assert!(calls <= 19, "{calls}");
        }
        assert_eq!(play(0, 5, &[]), (vec![], vec![], 0));
    }
}
