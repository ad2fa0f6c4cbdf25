//! Phases and conditions: the values that this program knows are variants; any other value is kept as it is.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// An enum of texts. Its default is the empty text, and `Other` holds unknown texts.
macro_rules! text_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name {
            /// Not written yet.
            #[default]
            Unset,
            $($(#[$variant_doc])* $variant,)+
            /// A value that this program does not know.
            Other(Box<str>),
        }

        impl $name {
            /// The text in the API.
            pub fn as_str(&self) -> &str {
                match self {
                    Self::Unset => "",
                    $(Self::$variant => $text,)+
                    Self::Other(text) => text,
                }
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                match text {
                    "" => Self::Unset,
                    $($text => Self::$variant,)+
                    other => Self::Other(other.into()),
                }
            }
        }

        impl PartialEq<&str> for $name {
            fn eq(&self, text: &&str) -> bool {
                self.as_str() == *text
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer).map(|text| Self::from(text.as_str()))
            }
        }
    };
}

text_enum! {
    /// The phase of a DataVolume (docs/protocol.md section 4.7).
    DataVolumePhase {
        /// There is no claim yet, or no volume.
        Pending = "Pending",
        /// The claim waits for a pod that uses it.
        WaitForFirstConsumer = "WaitForFirstConsumer",
        /// The claim is filled before it is bound, and waits for its first consumer.
        PendingPopulation = "PendingPopulation",
        /// The content is complete, and its volume is handed over to the claim.
        RebindInProgress = "RebindInProgress",
        /// The claim has a volume; the target pod does not run.
        CloneScheduled = "CloneScheduled",
        /// The target pod runs.
        CloneInProgress = "CloneInProgress",
        /// The content is complete.
        Succeeded = "Succeeded",
        /// The claim lost its volume.
        Failed = "Failed",
        /// The claim has a phase that is not known.
        Unknown = "Unknown",
    }
}

impl DataVolumePhase {
    /// Whether nothing more will happen.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed)
    }
}

text_enum! {
    /// The phase of a PersistentVolumeClaim.
    ClaimPhase {
        /// It has no volume.
        Pending = "Pending",
        /// It has a volume.
        Bound = "Bound",
        /// Its volume is gone.
        Lost = "Lost",
    }
}

text_enum! {
    /// The phase of a pod.
    PodPhase {
        /// Not all containers were started.
        Pending = "Pending",
        /// A container runs.
        Running = "Running",
        /// All containers ended with exit code 0.
        Succeeded = "Succeeded",
        /// A container failed, or the pod was evicted.
        Failed = "Failed",
        /// Its node does not report.
        Unknown = "Unknown",
    }
}

text_enum! {
    /// The type of a condition of a DataVolume (docs/protocol.md section 4.7).
    ConditionType {
        /// Whether the claim has a volume.
        Bound = "Bound",
        /// Whether the content can be used.
        Ready = "Ready",
        /// Whether bytes are on their way.
        Running = "Running",
    }
}

text_enum! {
    /// The status of a condition.
    ConditionStatus {
        /// It holds.
        True = "True",
        /// It does not hold.
        False = "False",
        /// It is not known.
        Unknown = "Unknown",
    }
}

impl From<bool> for ConditionStatus {
    fn from(holds: bool) -> Self {
        if holds { Self::True } else { Self::False }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_text_survives_reading_and_writing() {
        for text in ["", "Pending", "CloneInProgress", "ImportInProgress"] {
            let phase: DataVolumePhase = serde_json::from_value(json!(text)).unwrap();
            assert_eq!(json!(phase), json!(text));
        }
        assert_eq!(DataVolumePhase::from("Succeeded"), DataVolumePhase::Succeeded);
        assert_eq!(DataVolumePhase::from("Paused"), DataVolumePhase::Other("Paused".into()));
        assert!(serde_json::from_value::<PodPhase>(json!(7)).is_err());
    }
}
