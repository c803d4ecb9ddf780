//! Fresh names: ids, tokens and sandbox numbers that no other run is likely to use.
//!
//! Invariant: everything here comes from the system's secure source, so that runs side by side do not meet. That they
//! might all the same is dealt with where an attempt is judged.

/// Letters of tokens: no digit, so that no token holds a run of digits that could pass for a PIN or a number.
const LETTERS: &[u8; 16] = b"abcdefghjkmnpqrs";

/// A token of `length` letters.
#[must_use]
pub fn token(length: usize) -> String {
    let mut bytes = vec![0_u8; length];
    fill(&mut bytes);
    bytes.iter().map(|byte| letter(*byte)).collect()
}

/// `count` decimal digits, each as likely as any other.
#[must_use]
pub fn digits(count: usize) -> String {
    let mut text = String::with_capacity(count);
    while text.len() < count {
        let mut bytes = [0_u8; 1];
        fill(&mut bytes);
        let [byte] = bytes;
        // 250 is the greatest multiple of ten in a byte: what lies above would favour low digits.
        if byte < 250 {
            text.push(char::from(b'0'.saturating_add(byte % 10)));
        }
    }
    text
}

fn letter(byte: u8) -> char {
    LETTERS.get(usize::from(byte & 0x0f)).map_or('a', |letter| char::from(*letter))
}

fn fill(bytes: &mut [u8]) {
    getrandom::fill(bytes).expect("the operating system gives random bytes");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_and_digits_have_their_length_and_alphabet() {
        assert!(token(40).len() == 40 && token(40).bytes().all(|byte| LETTERS.contains(&byte)));
        assert!(digits(500).len() == 500 && digits(500).bytes().all(|byte| byte.is_ascii_digit()));
        assert_ne!(token(16), token(16));
    }
}
