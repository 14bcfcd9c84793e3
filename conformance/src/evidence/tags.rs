//! The tags that a status may have (WebAPI §2), with the number of arguments that a client needs for each.

/// Tags of `info` with the arguments that each needs.
pub const INFO: &[(&str, usize)] = &[
    ("ADJUST", 0),
    ("RESTORE", 0),
    ("SKIP", 0),
    ("SPLIT", 0),
    ("ZERO", 0),
    ("CHKSIG", 1),
    ("FW_DOWNLOAD", 1),
    ("KERNEL_DOWNLOAD", 1),
    ("SKIN_DOWNLOAD", 1),
    ("EXTRACT", 1),
    ("FLASH", 1),
    ("INSTALL", 1),
    ("VALIDATE", 0),
    ("FINALIZE", 0),
];

/// Tags of `error` with the arguments that each needs. `INCOMPATBILE` is spelt so on the wire.
pub const ERRORS: &[(&str, usize)] = &[
    ("OOM", 0),
    ("CANCELED", 0),
    ("SRV", 1),
    ("ALRT", 1),
    ("PUSH", 1),
    ("BADHDR", 1),
    ("NOVERS", 0),
    ("BADREG", 1),
    ("BADTS", 1),
    ("NOCOMMA", 1),
    ("INVAL_INT", 1),
    ("FILE_INVAL", 0),
    ("FILE_READ_ERR", 1),
    ("NO_FIRST_ROW", 0),
    ("NO_SECOND_ROW", 0),
    ("IN_FUTURE", 2),
    ("LOCK_FAILED", 0),
    ("DB_READ_ERR", 1),
    ("WRITE_FAILED", 1),
    ("NOT_NET_REG", 1),
    ("NO_POS_REG", 1),
    ("MAIL_TX_ERR", 1),
    ("BADSIG", 0),
    ("DOWNLOAD_FAILED", 2),
    ("EXTRACT_FAILED", 2),
    ("FLASH_FAILED", 1),
    ("INCOMPATBILE", 2),
    ("INSTALL_FAILED", 1),
    ("INVALID_IMAGE", 0),
    ("NO_IMAGE", 1),
    ("NOT_NEWER", 2),
    ("NOT_SUPPORTED", 0),
];

/// Whether it has the form of a tag: for programs, not for people.
pub fn is_tag(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|it| it.is_ascii_uppercase() || it.is_ascii_digit() || it == b'_')
}
