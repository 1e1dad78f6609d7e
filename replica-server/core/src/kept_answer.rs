//! An answer as a session keeps it.

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use words::AppAnswer;

/// Bytes that fit into the place of the other variant.
const SHORT: usize = 30;

/// Most answers are a few bytes (a number, a version). As `Bytes` each would be two allocations, freed when the next
/// write of its session comes, long after the processor's caches have forgotten them; with a thousand partitions that
/// was a twentieth of all that a write took. To serde it is the answer that it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum KeptAnswer {
    Short { length: u8, bytes: [u8; SHORT] },
    Other(AppAnswer),
}

impl From<&AppAnswer> for KeptAnswer {
    fn from(answer: &AppAnswer) -> Self {
        match answer {
            Ok(answer) if answer.len() <= SHORT => {
                let mut bytes = [0; SHORT];
                bytes[..answer.len()].copy_from_slice(answer);
                Self::Short { length: u8::try_from(answer.len()).expect("it is short"), bytes }
            }
            answer => Self::Other(answer.clone()),
        }
    }
}

impl From<&KeptAnswer> for AppAnswer {
    fn from(kept: &KeptAnswer) -> Self {
        match kept {
            KeptAnswer::Short { length, bytes } => Ok(Bytes::copy_from_slice(&bytes[..usize::from(*length)])),
            KeptAnswer::Other(answer) => answer.clone(),
        }
    }
}

impl Serialize for KeptAnswer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        AppAnswer::from(self).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for KeptAnswer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        AppAnswer::deserialize(deserializer).map(|answer| Self::from(&answer))
    }
}

#[cfg(test)]
mod tests {
    use words::Rejection;

    use super::*;

    #[test]
    fn it_stands_for_the_answer_that_it_was_made_of() {
        let rejection = Rejection { code: 8001, message: "card does not exist".to_owned() };
        let lengths = [0, 1, SHORT - 1, SHORT, SHORT + 1, 1000];
        let answers = lengths.map(|length| Ok(Bytes::from(vec![7; length])));
        for answer in answers.into_iter().chain([Err(rejection)]) {
            let kept = KeptAnswer::from(&answer);
            assert_eq!(AppAnswer::from(&kept), answer);
            let bytes = postcard::to_stdvec(&answer).unwrap();
            assert_eq!(postcard::to_stdvec(&kept).unwrap(), bytes);
            assert_eq!(postcard::from_bytes::<KeptAnswer>(&bytes).unwrap(), kept);
        }
    }

    #[test]
    fn it_takes_no_more_room_than_the_answer() {
        assert!(size_of::<KeptAnswer>() <= size_of::<AppAnswer>().max(SHORT + 2));
    }
}
