//! Python's `random.Random`: the Mersenne Twister and what is drawn from it.
//!
//! The harness picks few-shot examples with it, so equal prompts need equal numbers. Facts from
//! Matsumoto and Nishimura 1998 (MT19937, `init_by_array`) and from the documented behaviour of
//! `random.sample` and `random.shuffle` since Python 3.2.

const N: usize = 624;
const M: usize = 397;

/// `random.Random(seed)` for a non-negative integer seed.
#[derive(Debug, Clone)]
pub(crate) struct PythonRandom {
    state: Vec<u32>,
    index: usize,
}

impl PythonRandom {
    /// Seeds with the 32-bit words of the number, least significant first.
    #[must_use]
    pub(crate) fn new(seed: u64) -> Self {
        let mut key = vec![seed as u32];
        if seed >> 32 != 0 {
            key.push((seed >> 32) as u32);
        }
        let mut generator = Self { state: vec![0; N], index: N };
        generator.init_by_array(&key);
        generator
    }

    fn init_by_array(&mut self, key: &[u32]) {
        let s = &mut self.state;
        s[0] = 19_650_218;
        for i in 1..N {
            s[i] = 1_812_433_253_u32.wrapping_mul(s[i - 1] ^ (s[i - 1] >> 30)).wrapping_add(i as u32);
        }
        let (mut i, mut j) = (1, 0);
        for _ in 0..N.max(key.len()) {
            let mixed = (s[i - 1] ^ (s[i - 1] >> 30)).wrapping_mul(1_664_525);
            s[i] = (s[i] ^ mixed).wrapping_add(key[j]).wrapping_add(j as u32);
            i += 1;
            j = (j + 1) % key.len();
            if i == N {
                s[0] = s[N - 1];
                i = 1;
            }
        }
        for _ in 0..N - 1 {
            let mixed = (s[i - 1] ^ (s[i - 1] >> 30)).wrapping_mul(1_566_083_941);
            s[i] = (s[i] ^ mixed).wrapping_sub(i as u32);
            i += 1;
            if i == N {
                s[0] = s[N - 1];
                i = 1;
            }
        }
        s[0] = 0x8000_0000;
    }

    /// The next 32 bits.
    pub(crate) fn next_u32(&mut self) -> u32 {
        if self.index >= N {
            let s = &mut self.state;
            for k in 0..N {
                let y = (s[k] & 0x8000_0000) | (s[(k + 1) % N] & 0x7fff_ffff);
                let twist = if y & 1 == 0 { 0 } else { 0x9908_b0df };
                s[k] = s[(k + M) % N] ^ (y >> 1) ^ twist;
            }
            self.index = 0;
        }
        let mut y = self.state[self.index];
        self.index += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c_5680;
        y ^= (y << 15) & 0xefc6_0000;
        y ^ (y >> 18)
    }

    /// `getrandbits(bits)` for 1 to 32 bits.
    pub(crate) fn getrandbits(&mut self, bits: u32) -> u32 {
        self.next_u32() >> (32 - bits.clamp(1, 32))
    }

    /// A uniform index below `n` (`_randbelow`); 0 when `n` is 0.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        if n == 0 {
            return 0;
        }
        let bits = usize::BITS - n.leading_zeros();
        loop {
            let drawn = self.getrandbits(bits) as usize;
            if drawn < n {
                return drawn;
            }
        }
    }

    /// `sample(range(n), k)`: `k` different indices in drawn order; `None` when `k` exceeds `n`.
    pub(crate) fn sample(&mut self, n: usize, k: usize) -> Option<Vec<usize>> {
        if k > n {
            return None;
        }
        // Python's choice between a pool and a set of what was taken decides the numbers drawn.
        let mut set_size = 21;
        if k > 5 {
            set_size += 4_usize.pow(((k as f64 * 3.0).ln() / 4_f64.ln()).ceil() as u32);
        }
        if n <= set_size {
            let mut pool: Vec<usize> = (0..n).collect();
            let drawn = (0..k).map(|i| {
                let j = self.below(n - i);
                let chosen = pool[j];
                pool[j] = pool[n - i - 1];
                chosen
            });
            return Some(drawn.collect());
        }
        let mut taken = std::collections::BTreeSet::new();
        let drawn = (0..k).map(|_| {
            loop {
                let j = self.below(n);
                if taken.insert(j) {
                    return j;
                }
            }
        });
        Some(drawn.collect())
    }

    /// `shuffle(items)`.
    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            let j = self.below(i + 1);
            items.swap(i, j);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers printed by `CPython` (`fixtures/tasks/make_python_random.py`).
    #[test]
    fn numbers_are_those_of_cpython() {
        let text = include_str!("../../fixtures/tasks/python_random.json");
        let cases: Vec<serde_json::Value> = serde_json::from_str(text).unwrap();
        assert!(cases.len() > 20);
        for case in cases {
            let number = |key: &str| case[key].as_u64().unwrap();
            let expected: Vec<u64> = case["result"].as_array().unwrap().iter().map(|v| v.as_u64().unwrap()).collect();
            let mut random = PythonRandom::new(number("seed"));
            let mut found = Vec::new();
            match case["call"].as_str().unwrap() {
                "getrandbits" => found.extend((0..expected.len()).map(|_| u64::from(random.getrandbits(32)))),
                "randrange" => found.extend((0..expected.len()).map(|_| random.below(number("n") as usize) as u64)),
                "sample" => {
                    for _ in 0..number("times") {
                        let drawn = random.sample(number("n") as usize, number("k") as usize).unwrap();
                        found.extend(drawn.iter().map(|i| *i as u64));
                    }
                }
                "shuffle" => {
                    let mut items: Vec<u64> = (0..number("n")).collect();
                    random.shuffle(&mut items);
                    found = items;
                }
                other => panic!("{other}"),
            }
            assert_eq!(found, expected, "{case}");
        }
        assert_eq!(PythonRandom::new(1).sample(2, 3), None);
    }
}
