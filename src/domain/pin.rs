//! PINs: what makes one right, when it is burnt, and how often one may be sent.
//!
//! Invariant: wrong, expired, burnt and never sent are one verdict, so that nobody can tell them apart (contract
//! section 5). A PIN itself is only ever in [`Pin`], which does not print; what is stored is a keyed digest.
//! Where PINs are kept, and how digests are keyed, is not here.

use std::fmt;

use jiff::SignedDuration;

use super::Time;
use super::directory::SendQuota;

/// Digits of a PIN.
pub const PIN_DIGITS: usize = 6;

/// A PIN in the clear: on its way into an SMS, or as a customer typed it.
pub struct Pin(String);

impl Pin {
    /// Wraps digits that were drawn from a secure source, or a text that a caller sent.
    #[must_use]
    pub const fn new(text: String) -> Self {
        Self(text)
    }

    /// The digits. For the SMS and the digest only.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Pin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Pin(******)")
    }
}

/// A keyed digest that binds partner, address and PIN.
#[derive(Clone, Copy)]
pub struct PinDigest(pub [u8; 32]);

impl PinDigest {
    /// Whether two digests are the same, in a time that does not tell where they differ.
    #[must_use]
    pub fn matches(&self, other: &Self) -> bool {
        use subtle::ConstantTimeEq;
        self.0.ct_eq(&other.0).into()
    }
}

impl fmt::Debug for PinDigest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("PinDigest(****)")
    }
}

/// A PIN that was sent, as it is kept.
#[derive(Debug, Clone)]
pub struct StoredPin {
    /// Digest of partner, address and PIN.
    pub digest: PinDigest,
    /// From this moment on it is expired, by the gateway's clock.
    pub expires_at: Time,
    /// Wrong tries that are left; at 0 it is burnt.
    pub tries_left: u8,
}

/// What came of a try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is the PIN.
    Right,
    /// It is not, or there is none that counts.
    Wrong,
}

/// Judges a try and says what is kept afterwards: a right one stays good until it expires, a wrong one costs a try.
#[must_use]
pub fn redeem(stored: Option<StoredPin>, offered: &PinDigest, now: Time) -> (Verdict, Option<StoredPin>) {
    let Some(pin) = stored else {
        return (Verdict::Wrong, None);
    };
    if now >= pin.expires_at || pin.tries_left == 0 {
        return (Verdict::Wrong, None);
    }
    if pin.digest.matches(offered) {
        return (Verdict::Right, Some(pin));
    }
    let tries_left = pin.tries_left.saturating_sub(1);
    let kept = (tries_left > 0).then_some(StoredPin { tries_left, ..pin });
    (Verdict::Wrong, kept)
}

/// Whether one more send fits a window that already holds `sends` (oldest first), and if not, in how many seconds.
///
/// # Errors
/// Seconds until the oldest send that counts leaves the window: at least 1.
pub fn admit_send(sends: &[Time], sends_max: u32, window_s: u32, now: Time) -> Result<(), u32> {
    let window = SignedDuration::from_secs(i64::from(window_s));
    let counted: Vec<_> = sends.iter().filter(|sent| now.duration_since(**sent) < window).collect();
    let over = counted.len().checked_sub(usize::try_from(sends_max).unwrap_or(usize::MAX));
    let Some(blocking) = over.and_then(|index| counted.get(index)) else {
        return Ok(());
    };
    let passed_s = u32::try_from(now.duration_since(**blocking).as_secs()).unwrap_or_default();
    Err(window_s.saturating_sub(passed_s).max(1))
}

/// Both quotas of a send at once: the partner's own and that of the address over all partners.
///
/// # Errors
/// Seconds to wait until both allow it.
pub fn admit_sends(own: &[Time], all: &[Time], quota: SendQuota, now: Time) -> Result<(), u32> {
    let own = admit_send(own, quota.per_partner_max, quota.window_s, now);
    let all = admit_send(all, quota.per_address_max, quota.window_s, now);
    match (own, all) {
        (Ok(()), Ok(())) => Ok(()),
        (Err(wait_s), Ok(())) | (Ok(()), Err(wait_s)) => Err(wait_s),
        (Err(one), Err(other)) => Err(one.max(other)),
    }
}

/// Puts a PIN into the text of its message.
#[must_use]
pub fn sms_text(template: &str, pin: &Pin) -> String {
    template.replace(PIN_PLACEHOLDER, pin.expose())
}

/// Where the PIN goes in the text of its message.
pub const PIN_PLACEHOLDER: &str = "{pin}";

/// Whether a text can carry a PIN so that a phone finds it: `{pin}` once, and no other digit beside it or six in a row.
#[must_use]
pub fn is_sms_template(template: &str) -> bool {
    let parts: Vec<_> = template.split(PIN_PLACEHOLDER).collect();
    let [before, after] = parts.as_slice() else {
        return false;
    };
    let touching = before.ends_with(|c: char| c.is_ascii_digit()) || after.starts_with(|c: char| c.is_ascii_digit());
    let runs_of_six = |text: &str| text.split(|c: char| !c.is_ascii_digit()).any(|run| run.len() >= PIN_DIGITS);
    !touching && !runs_of_six(before) && !runs_of_six(after)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Time {
        Time::from_second(1_700_000_000_i64.saturating_add(second)).expect("in range")
    }

    fn stored() -> StoredPin {
        StoredPin { digest: PinDigest([1; 32]), expires_at: at(300), tries_left: 5 }
    }

    const RIGHT: PinDigest = PinDigest([1; 32]);
    const WRONG: PinDigest = PinDigest([2; 32]);

    #[test]
    fn the_fifth_wrong_try_burns_the_pin_and_no_earlier_one_does() {
        let mut kept = Some(stored());
        for _ in 0..4 {
            let (verdict, left) = redeem(kept, &WRONG, at(1));
            assert_eq!(verdict, Verdict::Wrong);
            kept = left;
        }
        assert_eq!(redeem(kept.clone(), &RIGHT, at(1)).0, Verdict::Right, "four wrong tries do not burn it");
        let (_, burnt) = redeem(kept, &WRONG, at(1));
        assert_eq!(redeem(burnt, &RIGHT, at(1)).0, Verdict::Wrong, "the fifth does");
    }

    #[test]
    fn the_right_pin_is_right_again_until_it_expires() {
        let (first, kept) = redeem(Some(stored()), &RIGHT, at(1));
        let (again, kept) = redeem(kept, &RIGHT, at(299));
        let (late, gone) = redeem(kept, &RIGHT, at(300));
        assert_eq!((first, again, late), (Verdict::Right, Verdict::Right, Verdict::Wrong));
        assert!(gone.is_none());
    }

    #[test]
    fn sends_are_counted_in_a_sliding_window() {
        let sends = [at(0), at(10), at(20)];
        for (now, sends_max, expected) in [
            (at(30), 3, Err(570)),
            (at(599), 3, Err(1)),
            (at(600), 3, Ok(())),
            (at(30), 4, Ok(())),
            (at(30), 1, Err(590)),
        ] {
            assert_eq!(admit_send(&sends, sends_max, 600, now), expected, "{now} {sends_max}");
        }
    }

    #[test]
    fn a_template_has_the_pin_as_its_only_run_of_six_digits() {
        for (template, good) in [
            ("Your code is {pin}.", true),
            ("{pin}", true),
            ("Code {pin}, help: 12345", true),
            ("no placeholder", false),
            ("{pin} and {pin}", false),
            ("1{pin}", false),
            ("{pin}0", false),
            ("{pin} or call 5550100001", false),
        ] {
            assert_eq!(is_sms_template(template), good, "{template}");
        }
    }
}
