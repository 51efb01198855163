//! How alike two texts are, as Python's `difflib.SequenceMatcher.ratio` measures it (Ratcliff and Obershelp): twice the
//! characters in matching blocks, longest first, by the length of both. Below 200 characters it drops no "popular" ones,
//! and above that this does not either.

/// 0 to 1.
pub fn ratio(a: &str, b: &str) -> f64 {
    if a == b {
        return 1.0;
    }
    let (a, b) = (a.as_bytes(), b.as_bytes());
    2.0 * matching(a, b) as f64 / (a.len() + b.len()) as f64
}

fn matching(a: &[u8], b: &[u8]) -> usize {
    let (mut best, mut in_a, mut in_b) = (0, 0, 0);
    let mut before = vec![0; b.len() + 1];
    for (i, left) in a.iter().enumerate() {
        let mut now = vec![0; b.len() + 1];
        for (j, right) in b.iter().enumerate() {
            if left == right {
                now[j + 1] = before[j] + 1;
                if now[j + 1] > best {
                    (best, in_a, in_b) = (now[j + 1], i + 1 - now[j + 1], j + 1 - now[j + 1]);
                }
            }
        }
        before = now;
    }
    if best == 0 {
        return 0;
    }
    best + matching(&a[..in_a], &b[..in_b]) + matching(&a[in_a + best..], &b[in_b + best..])
}
