//! Exact decimal numbers of any length, for quantities and overheads.

/// A number >= 0: `0.d1d2d3…` times ten to the power `point`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Decimal {
    /// Decimal digits, most significant first, without leading and trailing zeros. Empty for the number 0.
    digits: Vec<u8>,
    /// How many digits precede the decimal point; negative if zeros follow it directly.
    point: i64,
}

impl Decimal {
    /// Parses a number at the start of `text`: digits with at most one point. Returns the number and what follows it, or
    /// `None` if there is no digit.
    pub(super) fn take(text: &str) -> Option<(Self, &str)> {
        let (whole, rest) = split_digits(text);
        let (fraction, rest) = match rest.strip_prefix('.') {
            Some(after) => split_digits(after),
            None => ("", rest),
        };
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let digits = whole.bytes().chain(fraction.bytes()).map(|byte| byte - b'0').collect();
        let point = i64::try_from(whole.len()).ok()?;
        Some((Self { digits, point }.trimmed(), rest))
    }

    /// The number times ten to the power `exponent`; `None` if the exponent overflows.
    pub(super) fn times_ten_to(mut self, exponent: i64) -> Option<Self> {
        self.point = self.point.checked_add(exponent)?;
        Some(self)
    }

    /// The number times 1024.
    pub(super) fn times_1024(mut self) -> Self {
        let mut carry = 0_u32;
        for digit in self.digits.iter_mut().rev() {
            carry += u32::from(*digit) * 1024;
            *digit = low_digit(carry);
            carry /= 10;
        }
        let mut front = Vec::new();
        while carry > 0 {
            front.insert(0, low_digit(carry));
            carry /= 10;
            self.point += 1;
        }
        front.append(&mut self.digits);
        self.digits = front;
        self.trimmed()
    }

    /// The smallest whole number that is not below this one; `None` if it does not fit.
    pub(super) fn ceil(&self) -> Option<u64> {
        if self.digits.is_empty() {
            return Some(0);
        }
        let mut whole = 0_u64;
        // The first digit is not zero, so a distant point overflows after 20 rounds.
        for place in 0..self.point.max(0) {
            let digit = usize::try_from(place).ok().and_then(|index| self.digits.get(index));
            whole = whole.checked_mul(10)?.checked_add(digit.copied().unwrap_or(0).into())?;
        }
        let len = i64::try_from(self.digits.len()).ok()?;
        if len > self.point { whole.checked_add(1) } else { Some(whole) }
    }

    /// Whether it is a whole number.
    pub(super) fn is_whole(&self) -> bool {
        i64::try_from(self.digits.len()).is_ok_and(|len| len <= self.point.max(0))
    }

    fn trimmed(mut self) -> Self {
        let zeros = self.digits.iter().take_while(|&&digit| digit == 0).count();
        self.digits.drain(..zeros);
        self.point -= i64::try_from(zeros).unwrap_or(i64::MAX);
        while self.digits.last() == Some(&0) {
            self.digits.pop();
        }
        if self.digits.is_empty() {
            self.point = 0;
        }
        self
    }
}

fn split_digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

fn low_digit(number: u32) -> u8 {
    u8::try_from(number % 10).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> Decimal {
        Decimal::take(text).unwrap().0
    }

    #[test]
    fn leading_and_trailing_zeros_are_ignored() {
        assert_eq!(number("0012.3400"), number("12.34"));
        assert_eq!(number("0.00"), number("0"));
    }

    #[test]
    fn the_text_after_the_number_is_returned() {
        assert_eq!(Decimal::take("1.5.2").map(|(_, rest)| rest), Some(".2"));
        assert_eq!(Decimal::take(".").map(|(_, rest)| rest), None);
    }

    #[test]
    fn any_fraction_rounds_up() {
        assert_eq!(number("2.0000000000000000000000000000000000000000001").ceil(), Some(3));
        assert_eq!(number("0.001").ceil(), Some(1));
        assert_eq!(number("18446744073709551615").ceil(), Some(u64::MAX));
        assert_eq!(number("18446744073709551615.1").ceil(), None);
    }

    #[test]
    fn a_distant_point_neither_hangs_nor_overflows() {
        assert_eq!(number("0").times_ten_to(i64::MAX).and_then(|n| n.ceil()), Some(0));
        assert_eq!(number("1").times_ten_to(i64::MAX - 1).and_then(|n| n.ceil()), None);
        assert_eq!(number("1").times_ten_to(i64::MIN).and_then(|n| n.ceil()), Some(1));
        assert_eq!(number("1").times_ten_to(i64::MAX), None);
    }

    #[test]
    fn a_multiplication_by_1024_is_exact() {
        assert_eq!(number("0.0009765625").times_1024(), number("1"));
        assert_eq!(number("999").times_1024(), number("1022976"));
    }
}
