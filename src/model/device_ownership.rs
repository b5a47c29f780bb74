//! Whose the device with our name is: what the overlay finds out, and what all that acts in the name of this overlay,
//! such as rules and files, has to know first.

/// Whose the device with our name is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum DeviceOwnership {
    /// The kernel was not looked at yet.
    #[default]
    Unknown,
    /// No other flanneld has it: we make it, or take it over, now.
    Free,
    /// The device is there and carries our alias, as read back.
    Ours,
    /// The device is of another kind, or another flanneld has it: its rules may have the same names as ours.
    Foreign,
}
