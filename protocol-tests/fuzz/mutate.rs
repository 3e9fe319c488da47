//! Inputs from a seed: a sample of the corpus, changed in a few places.

/// Values at which code goes wrong.
const INTERESTING: [i64; 12] = [-1, 0, 1, 2, 127, 128, 255, 32_767, 65_535, i32::MAX as i64, i32::MIN as i64, i64::MAX];
const CHANGES_MAX: usize = 6;
/// A longer input finds no more, and takes longer.
pub(crate) const INPUT_BYTES_MAX: usize = 64 << 10;

/// Changed bytes, and nothing that knows their meaning.
pub(crate) fn mutated(random: &mut fastrand::Rng, corpus: &[Vec<u8>], words: &[&str]) -> Vec<u8> {
    let mut bytes = choose(random, corpus).cloned().unwrap_or_default();
    // The sample itself now and then: the control of the rest.
    for _ in 0..random.usize(..=CHANGES_MAX) {
        change(random, &mut bytes, corpus, words);
    }
    bytes.truncate(INPUT_BYTES_MAX);
    bytes
}

pub(crate) fn choose<'a, T>(random: &mut fastrand::Rng, of: &'a [T]) -> Option<&'a T> {
    if of.is_empty() { None } else { of.get(random.usize(..of.len())) }
}

pub(crate) fn change(random: &mut fastrand::Rng, bytes: &mut Vec<u8>, corpus: &[Vec<u8>], words: &[&str]) {
    let at = random.usize(..=bytes.len());
    let length = random.usize(..=8.min(bytes.len() - at));
    match random.u8(..11) {
        0 | 1 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << random.u8(..8);
            }
        }
        2 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = random.u8(..);
            }
        }
        3 | 4 => {
            // A number of some width, as it is on the wire.
            let near = if random.bool() { random.i64(-1..=1) } else { 0 };
            let value = choose(random, &INTERESTING).map_or(0, |it| it.wrapping_add(near));
            let width = choose(random, &[1, 2, 4, 8]).copied().unwrap_or(4);
            for (place, byte) in bytes.iter_mut().skip(at).zip(&value.to_be_bytes()[8 - width..]) {
                *place = *byte;
            }
        }
        5 => {
            // A varint that goes on.
            let count = random.usize(1..11);
            bytes.splice(at..at, std::iter::repeat_n(0xff, count));
        }
        6 => drop(bytes.drain(at..at + length)),
        7 => {
            let copy = bytes[at..at + length].to_vec();
            let to = random.usize(..=bytes.len());
            bytes.splice(to..to, copy);
        }
        8 => {
            let word: Vec<u8> = match choose(random, words) {
                Some(word) => word.bytes().collect(),
                None => (0..length).map(|_| random.u8(..)).collect(),
            };
            bytes.splice(at..at, word);
        }
        9 => bytes.truncate(at),
        _ => {
            // The beginning of one and the end of another.
            if let Some(other) = choose(random, corpus) {
                let from = random.usize(..=other.len());
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
        }
    }
}

/// As short as it gets, and still failing.
pub(crate) fn minimised(input: &[u8], fails: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let mut best = input.to_vec();
    let mut step = best.len();
    while step > 0 {
        let mut at = 0;
        while at < best.len() {
            let mut shorter = best.clone();
            shorter.drain(at..(at + step).min(best.len()));
            if fails(&shorter) {
                best = shorter;
            } else {
                at += step;
            }
        }
        step /= 2;
    }
    for at in 0..best.len() {
        let byte = std::mem::replace(&mut best[at], 0);
        if byte != 0 && !fails(&best) {
            best[at] = byte;
        }
    }
    best
}
