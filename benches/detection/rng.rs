//! The generator's own source of chance: xoshiro256++ seeded through SplitMix64, so that a seed means the same traffic on
//! every machine and with every version of every library; and [`mix`], chance as a pure function of a few numbers.

/// One stream of numbers.
pub struct Rng([u64; 4]);

fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A number that depends on all of `parts` and on nothing else.
pub fn mix(parts: &[u64]) -> u64 {
    let mut state = 0x51_7c_c1_b7_27_22_0a_95;
    for part in parts {
        state ^= part.wrapping_mul(0xff51_afd7_ed55_8ccd);
        state = split_mix(&mut state);
    }
    state
}

/// Of 53 bits, in [0, 1).
#[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
pub fn unit(bits: u64) -> f64 {
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

impl Rng {
    /// Streams of one seed do not depend on each other.
    pub fn new(seed: u64, stream: u64) -> Self {
        let mut state = mix(&[seed, stream]);
        Self(std::array::from_fn(|_| split_mix(&mut state)))
    }

    pub fn next(&mut self) -> u64 {
        let s = &mut self.0;
        let result = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        result
    }

    pub fn unit(&mut self) -> f64 {
        unit(self.next())
    }

    pub fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// In [0, n); `n` is far below 2^32, so the bias does not show.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }

    /// The index, with a probability proportional to its weight.
    pub fn weighted(&mut self, weights: &[f64]) -> usize {
        let mut left = self.unit() * weights.iter().sum::<f64>();
        for (index, weight) in weights.iter().enumerate() {
            left -= weight;
            if left < 0.0 {
                return index;
            }
        }
        weights.len() - 1
    }

    /// Exponential.
    pub fn wait(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.unit()).ln()
    }

    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }

    pub fn log_normal(&mut self, median: f64, sigma: f64) -> f64 {
        median * (sigma * self.normal()).exp()
    }

    pub fn poisson(&mut self, mean: f64) -> usize {
        let mut left = mean;
        let mut count = 0;
        loop {
            left -= self.wait(1.0);
            if left < 0.0 {
                return count;
            }
            count += 1;
        }
    }

    /// 128 bits.
    pub fn wide(&mut self) -> u128 {
        u128::from(self.next()) << 64 | u128::from(self.next())
    }
}

/// As UUIDs are written, version 4.
pub fn uuid(bits: u128) -> String {
    let bits = bits & !(0xf << 76) & !(0xc << 60) | 4 << 76 | 8 << 60;
    let hex = format!("{bits:032x}");
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

impl Rng {
    pub fn pick_weighted<'a, T>(&mut self, of: &'a [T], weights: &[f64]) -> &'a T {
        &of[self.weighted(weights)]
    }
}
