//! Who should have how much.

/// One replica, in the fixed-point numbers that shares are counted in.
pub(super) const ONE: u64 = 1 << 20;

/// Shares are rounded down when they are computed; what is this near to a whole number is meant to be that.
const NEAR: u64 = 1 << 10;

/// `total` divided in proportion to `weights`, no share above `most`: who would get more has `most`, and the rest is
/// divided among the others.
pub(super) fn divide(total: u64, most: u64, weights: &[u64]) -> Vec<u64> {
    let mut by_weight: Vec<usize> = (0..weights.len()).filter(|&index| weights[index] > 0).collect();
    by_weight.sort_by_key(|&index| std::cmp::Reverse(weights[index]));
    let mut left = u128::from(total);
    let mut sum: u128 = weights.iter().copied().map(u128::from).sum();
    let mut shares = vec![0; weights.len()];
    for index in by_weight {
        let weight = u128::from(weights[index]);
        let proportional = left * weight * u128::from(ONE) / sum;
        if proportional >= u128::from(most * ONE) {
            shares[index] = most * ONE;
            left -= u128::from(most).min(left);
            sum -= weight;
        } else {
            shares[index] = u64::try_from(proportional).expect("it is below `most`");
        }
    }
    shares
}

/// A share rounded down and up.
pub(super) fn bounds(share: u64) -> (u32, u32) {
    let whole = |share: u64| u32::try_from(share / ONE).unwrap_or(u32::MAX);
    (whole(share + NEAR), whole((share + ONE - 1).saturating_sub(NEAR)))
}
