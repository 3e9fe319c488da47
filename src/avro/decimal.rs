//! Decimals: how large they may be, and their text for people.

use super::schema::SchemaError;

/// Digits of a decimal. More than any database knows; a bound, because the text of a number takes the square of its length.
pub(super) const PRECISION_MAX: usize = 1_000;
/// Of the unscaled value of a `big-decimal`, whose schema bounds nothing; about the digits of `PRECISION_MAX`.
pub(super) const UNSCALED_BYTES_MAX: usize = 416;

pub(super) fn bounded(precision: usize) -> Result<(), SchemaError> {
    if precision > PRECISION_MAX {
        return Err(SchemaError::TooLarge { what: "a decimal's precision", limit: PRECISION_MAX });
    }
    Ok(())
}

/// Digits that always fit `size` bytes, as Java's `LogicalTypes.Decimal.maxPrecision` has it.
pub(super) fn precision_of(size: usize) -> usize {
    (std::f64::consts::LOG10_2 * (8.0 * size as f64 - 1.0)).floor().max(0.0) as usize
}

/// The largest magnitude of so many digits, and one less, big-endian without leading zeros.
pub(super) struct Largest {
    magnitude: Box<[u8]>,
    /// What a negative number's complement, which is one less than its magnitude, is held against.
    complement: Box<[u8]>,
}

impl Largest {
    /// `precision` is at least 1.
    pub(super) fn of(precision: usize) -> Self {
        let nines = vec![9; precision];
        let magnitude = to_bytes(&nines);
        let mut less = nines;
        if let Some(last) = less.last_mut() {
            *last = 8;
        }
        Self { magnitude: magnitude.into(), complement: to_bytes(&less).into() }
    }

    /// `unscaled`: two's complement, big-endian, at least one byte.
    pub(super) fn holds(&self, unscaled: &[u8]) -> bool {
        // Most numbers are far from the limit.
        if unscaled.len() < self.magnitude.len().min(self.complement.len()) {
            return true;
        }
        let flip = if unscaled.first().is_some_and(|it| it & 0x80 != 0) { 0xff } else { 0 };
        let limit = if flip == 0 { &self.magnitude } else { &self.complement };
        let zeros = unscaled.iter().take_while(|it| **it == flip).count();
        let digits = &unscaled[zeros..];
        match digits.len().cmp(&limit.len()) {
            std::cmp::Ordering::Less => true,
            std::cmp::Ordering::Greater => false,
            std::cmp::Ordering::Equal => digits.iter().map(|it| it ^ flip).le(limit.iter().copied()),
        }
    }
}

/// Big-endian, from decimal digits.
fn to_bytes(digits: &[u8]) -> Vec<u8> {
    let mut bytes: Vec<u8> = Vec::new();
    for digit in digits {
        let mut carry = u32::from(*digit);
        for byte in bytes.iter_mut().rev() {
            let value = u32::from(*byte) * 10 + carry;
            *byte = value as u8;
            carry = value >> 8;
        }
        if carry > 0 {
            bytes.insert(0, carry as u8);
        }
    }
    bytes
}

/// Decimal digits without leading zeros, from a big-endian magnitude.
fn to_digits(bytes: &[u8]) -> Vec<u8> {
    let mut digits: Vec<u8> = Vec::new();
    for byte in bytes {
        let mut carry = u32::from(*byte);
        for digit in digits.iter_mut().rev() {
            let value = u32::from(*digit) * 256 + carry;
            *digit = (value % 10) as u8;
            carry = value / 10;
        }
        while carry > 0 {
            digits.insert(0, (carry % 10) as u8);
            carry /= 10;
        }
    }
    digits
}

/// `-12.30` for −1230 of scale 2; a scale that people could not count is written as an exponent.
pub(super) fn text(unscaled: &[u8], scale: i64) -> String {
    let is_negative = unscaled.first().is_some_and(|it| it & 0x80 != 0);
    let mut magnitude: Vec<u8> = unscaled.iter().map(|it| if is_negative { !it } else { *it }).collect();
    if is_negative && !increment(&mut magnitude) {
        magnitude.insert(0, 1);
    }
    let mut digits: String = to_digits(&magnitude).iter().map(|it| char::from(b'0' + it)).collect();
    if digits.is_empty() {
        digits.push('0');
    }
    let sign = if is_negative { "-" } else { "" };
    match usize::try_from(scale) {
        Ok(0) => format!("{sign}{digits}"),
        Ok(scale) if scale <= PRECISION_MAX => {
            let missing = (scale + 1).saturating_sub(digits.len());
            digits.insert_str(0, &"0".repeat(missing));
            let (whole, fraction) = digits.split_at(digits.len() - scale);
            format!("{sign}{whole}.{fraction}")
        }
        _ => format!("{sign}{digits}E{}", -i128::from(scale)),
    }
}

/// False: it was all ones, and is all zeros.
fn increment(bytes: &mut [u8]) -> bool {
    for byte in bytes.iter_mut().rev() {
        *byte = byte.wrapping_add(1);
        if *byte != 0 {
            return true;
        }
    }
    false
}

/// Unscaled value, shortest, and scale: `1.50` is 150 and 2, `15E3` is 15 and −3. None: it is no decimal, or an endless one.
pub(super) fn parse(text: &str) -> Option<(Vec<u8>, i64)> {
    let (is_negative, rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (mantissa, exponent) = match rest.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => {
            // A scale is an int, and its exponent the negative.
            (mantissa, exponent.parse::<i64>().ok().filter(|it| it.unsigned_abs() <= 1 << 32)?)
        }
        None => (rest, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits: Vec<u8> = whole.bytes().chain(fraction.bytes()).collect();
    if digits.is_empty() || digits.len() > 2 * PRECISION_MAX || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digits: Vec<u8> = digits.iter().map(|it| it - b'0').collect();
    Some((signed(is_negative, &digits), fraction.len() as i64 - exponent))
}

fn signed(is_negative: bool, digits: &[u8]) -> Vec<u8> {
    let mut bytes = to_bytes(digits);
    // The sign needs a bit of its own.
    if bytes.first().is_none_or(|it| it & 0x80 != 0) {
        bytes.insert(0, 0);
    }
    if is_negative {
        bytes.iter_mut().for_each(|it| *it = !*it);
        increment(&mut bytes);
    }
    while bytes.len() > 1 && (bytes[0] == 0 && bytes[1] & 0x80 == 0 || bytes[0] == 0xff && bytes[1] & 0x80 != 0) {
        bytes.remove(0);
    }
    bytes
}

/// The unscaled value at another scale; None: digits would be lost, or there would be too many.
pub(super) fn rescale(text: &str, scale: i64) -> Option<Vec<u8>> {
    let (unscaled, has) = parse(text)?;
    let more = scale - has;
    if more == 0 {
        return Some(unscaled);
    }
    let digits = self::text(&unscaled, 0);
    let (is_negative, digits) = digits.strip_prefix('-').map_or((false, digits.as_str()), |it| (true, it));
    let mut digits: Vec<u8> = digits.bytes().map(|it| it - b'0').collect();
    if digits == [0] {
        return Some(vec![0]);
    }
    if more > 0 {
        let more = usize::try_from(more).ok().filter(|it| *it <= 2 * PRECISION_MAX)?;
        digits.resize(digits.len() + more, 0);
    } else {
        for _ in 0..more.unsigned_abs() {
            if digits.pop()? != 0 {
                return None;
            }
        }
    }
    Some(signed(is_negative, &digits))
}

/// Near enough to be held against a limit that a person wrote.
pub(super) fn to_f64(unscaled: &[u8], scale: i64) -> f64 {
    let is_negative = unscaled.first().is_some_and(|it| it & 0x80 != 0);
    let flipped = unscaled.iter().map(|it| if is_negative { !it } else { *it });
    let magnitude = flipped.fold(0.0, |value, byte| value * 256.0 + f64::from(byte)) + f64::from(u8::from(is_negative));
    let scale = i32::try_from(scale).unwrap_or(i32::MAX);
    // Dividing by a power of ten is exact where the power is; multiplying by its inverse never is.
    let value =
        if scale >= 0 { magnitude / 10_f64.powi(scale) } else { magnitude * 10_f64.powi(scale.saturating_neg()) };
    if is_negative { -value } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unscaled(value: i128) -> Vec<u8> {
        signed(value < 0, &value.unsigned_abs().to_string().bytes().map(|it| it - b'0').collect::<Vec<_>>())
    }

    #[test]
    fn text_and_back() {
        for (value, scale, want) in [
            (0, 0, "0"),
            (0, 2, "0.00"),
            (1, 2, "0.01"),
            (-1, 2, "-0.01"),
            (-1230, 2, "-12.30"),
            (i128::from(i64::MIN), 0, "-9223372036854775808"),
            (256, 1, "25.6"),
            (-128, 0, "-128"),
            (-32_768, 0, "-32768"),
            (15, -3, "15E3"),
            (15, 2_000, "15E-2000"),
            (15, i64::from(i32::MIN), "15E2147483648"),
        ] {
            assert_eq!(text(&unscaled(value), scale), want);
            assert_eq!(parse(want), Some((unscaled(value), scale)), "{want}");
        }
        assert_eq!(unscaled(127), [127]);
        assert_eq!(unscaled(128), [0, 128]);
        assert_eq!(unscaled(-128), [128]);
        assert_eq!(unscaled(-129), [255, 127]);
        // Longer than it need be.
        assert_eq!(text(&[0xff, 0xff, 0xfb], 0), "-5");
        for wrong in ["", "-", ".", "1.2.3", "0x1", "1e", "NaN", "1e99999999999", "١"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_scale_is_kept_or_refused() {
        assert_eq!(rescale("1.5", 2), Some(unscaled(150)));
        assert_eq!(rescale("-1.50", 1), Some(unscaled(-15)));
        assert_eq!(rescale("1.55", 1), None);
        assert_eq!(rescale("1E2", 0), Some(unscaled(100)));
        assert_eq!(rescale("0.000", 0), Some(vec![0]));
        assert_eq!(rescale("1E2000000000", 0), None);
        assert_eq!(rescale("1E-2000000000", 0), None);
    }

    #[test]
    fn the_largest_number_of_a_precision_is_exact() {
        for precision in 1..30_u32 {
            let largest = Largest::of(precision as usize);
            let limit = 10_i128.pow(precision);
            for value in [0, 1, -1, limit - 1, 1 - limit] {
                assert!(largest.holds(&unscaled(value)), "{value} has {precision} digits");
                let longer: Vec<u8> = [if value < 0 { [255; 3] } else { [0; 3] }.as_slice(), &unscaled(value)].concat();
                assert!(largest.holds(&longer));
            }
            for value in [limit, -limit, limit * 256, -limit * 256] {
                assert!(!largest.holds(&unscaled(value)), "{value} has more than {precision} digits");
            }
        }
        assert_eq!([1, 2, 4, 8, 16].map(precision_of), [2, 4, 9, 18, 38]);
        assert_eq!(precision_of(0), 0);
    }

    #[test]
    fn a_float_is_near() {
        assert_eq!(to_f64(&unscaled(1999), 2), 19.99);
        assert_eq!(to_f64(&unscaled(-1999), 2), -19.99);
        assert_eq!(to_f64(&unscaled(-256), 0), -256.0);
        assert_eq!(to_f64(&unscaled(5), -2), 500.0);
        assert_eq!(to_f64(&unscaled(5), i64::from(i32::MIN)), f64::INFINITY);
        assert_eq!(to_f64(&unscaled(5), i64::from(i32::MAX)), 0.0);
    }
}
