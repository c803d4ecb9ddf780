//! Days, by which the stores index what an account has.
//!
//! Invariant: both stores count days by the division of their SQL, which cuts towards zero, so that one text holds for
//! either. The number is in their schemas and never changes.

/// Microseconds of a day.
const DAY_US: i64 = 86_400_000_000;

/// When a day begins, in microseconds since 1970. What is before 1970 and what is after it share day 0.
pub(super) const fn day_begins_us(day: i64) -> i64 {
    if day > 0 { day.saturating_mul(DAY_US) } else { day.saturating_sub(1).saturating_mul(DAY_US).saturating_add(1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_begins_with_the_first_time_that_is_divided_into_it() {
        for day in [-20_000, -2, -1, 0, 1, 2, 20_000] {
            let begins_us = day_begins_us(day);
            assert_eq!((begins_us / DAY_US, (begins_us - 1) / DAY_US), (day, day - 1), "{day}");
        }
    }
}
