//! The watermark of the data directory's file system (§7.6): writes end early, while there is still room for what
//! must be written.

use words::DiskSpace;

use crate::Settings;

/// What was measured, and whether it is little: once it is, a tenth more than the watermark must be free again, or
/// every checkpoint that comes and goes would change it.
pub(crate) fn judge(settings: &Settings, was_low: bool, capacity: u64, available: u64) -> DiskSpace {
    let tenths = if was_low { 11 } else { 10 };
    let (capacity_wide, available_wide) = (u128::from(capacity), u128::from(available));
    let below_ratio =
        available_wide * 1000 < capacity_wide * u128::from(settings.disk_min_available_space_ratio) * tenths;
    let below_enough = available_wide * 10 < u128::from(settings.disk_enough_space_bytes) * tenths;
    DiskSpace { capacity, available, is_low: below_ratio && below_enough }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_low(was_low: bool, capacity: u64, available: u64) -> bool {
        let settings = Settings {
            disk_min_available_space_ratio: 10,
            disk_enough_space_bytes: 500,
            ..Settings::default()
        };
        judge(&settings, was_low, capacity, available).is_low
    }

    #[test]
    fn a_disk_is_low_below_the_ratio_and_well_again_a_tenth_above_it() {
        assert!(!is_low(false, 1000, 100));
        assert!(is_low(false, 1000, 99));
        assert!(is_low(true, 1000, 109));
        assert!(!is_low(true, 1000, 110));
    }

    #[test]
    fn on_a_large_disk_a_small_part_can_be_enough() {
        assert!(!is_low(false, 1_000_000, 500));
        assert!(is_low(false, 1_000_000, 499));
        assert!(is_low(true, 1_000_000, 549));
        assert!(!is_low(true, 1_000_000, 550));
    }

    #[test]
    fn what_was_not_measured_is_not_low() {
        assert!(!is_low(false, 0, 0));
        assert!(!is_low(true, 0, 0));
    }
}
