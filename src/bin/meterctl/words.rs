//! The tags of `/sys/status` in words. A tag that is not known here is shown as it came: meters may have more.

/// What is being done.
pub fn info(tag: &str, args: &[String]) -> String {
    let arg = |at: usize| args.get(at).map_or("?", String::as_str);
    match tag {
        "ADJUST" => "adjusting the rows".into(),
        "RESTORE" => "restoring".into(),
        "SKIP" => "skipping to the time in question".into(),
        "SPLIT" => "splitting".into(),
        "ZERO" => "zeroing".into(),
        "CHKSIG" => format!("checking the signature of {}", arg(0)),
        "FW_DOWNLOAD" => format!("downloading the firmware ({})", arg(0)),
        "KERNEL_DOWNLOAD" => format!("downloading the kernel ({})", arg(0)),
        "SKIN_DOWNLOAD" => format!("downloading the user interface ({})", arg(0)),
        "EXTRACT" => format!("extracting {}", arg(0)),
        "FLASH" => format!("writing {}", arg(0)),
        "INSTALL" => format!("installing {}", arg(0)),
        "VALIDATE" => "validating".into(),
        "FINALIZE" => "finishing".into(),
        other => unknown(other, args),
    }
}

/// Why it failed, and what to do about it if that is known.
pub fn error(tag: &str, args: &[String]) -> (String, Option<&'static str>) {
    let arg = |at: usize| args.get(at).map_or("?", String::as_str);
    let plain = |text: &str| (text.to_string(), None);
    match tag {
        "OOM" => ("The meter ran out of memory.".into(), Some("Try again with less at once, or reboot it first.")),
        "CANCELED" => plain("It was cancelled."),
        "INTERRUPTED" => ("It was interrupted by a restart of the meter.".into(), Some("Start it again.")),
        "SRV" => (format!("The provider's server failed: {}.", arg(0)), None),
        "ALRT" => (format!("The alert service was not activated: {}.", arg(0)), None),
        "PUSH" => (format!("The data-sharing service was not activated: {}.", arg(0)), None),
        "BADHDR" => (format!("The backup's header is wrong: {}.", arg(0)), CHECK),
        "NOVERS" => ("The backup's header has no version.".into(), CHECK),
        "BADREG" => (
            format!("The register {} of the backup cannot be used.", arg(0)),
            Some("It may be unknown to the meter or of another type; limit the restore with --regs."),
        ),
        "BADTS" => (format!("A time stamp in the backup is wrong: {}.", arg(0)), CHECK),
        "NOCOMMA" => (format!("Line {} of the backup has a wrong number of fields.", arg(0)), CHECK),
        "INVAL_INT" => (format!("Line {} of the backup has a field that is no integer.", arg(0)), CHECK),
        "FILE_INVAL" => ("The backup cannot be used.".into(), CHECK),
        "FILE_READ_ERR" => (format!("The meter could not read the backup behind line {}.", arg(0)), None),
        "NO_FIRST_ROW" => ("The backup has no row.".into(), CHECK),
        "NO_SECOND_ROW" => ("The backup has a single row; it needs two.".into(), CHECK),
        "IN_FUTURE" => (
            format!("The backup's youngest row ({}) is in the meter's future ({}).", arg(0), arg(1)),
            Some("Set the meter's clock first: meterctl set-time now"),
        ),
        "LOCK_FAILED" => ("The database was locked for too long.".into(), Some("Try again a little later.")),
        "DB_READ_ERR" => (format!("The database could not be read (at {}).", arg(0)), None),
        "WRITE_FAILED" => {
            (format!("The database could not be written (at {}).", arg(0)), Some("The disk may be full or worn out."))
        }
        "NOT_NET_REG" => (format!("{} is no net power register.", arg(0)), None),
        "NO_POS_REG" => (
            format!("{0} has no positive-only register; it would be called {0}+.", arg(0)),
            Some("Make that register first, or name others with --regs."),
        ),
        "MAIL_TX_ERR" => (
            format!("The mail to {} was not taken.", arg(0)),
            Some("The dialogue above says why; see --smarthost, --mailuser."),
        ),
        "BADSIG" => plain("The signature is not by the meter's update key; nothing was installed."),
        "DOWNLOAD_FAILED" => (format!("{} could not be downloaded: {}.", arg(0), arg(1)), None),
        "EXTRACT_FAILED" => (format!("{} could not be extracted: {}.", arg(0), arg(1)), None),
        "FLASH_FAILED" => (
            format!("Writing failed: {}.", arg(0)),
            Some("Do not cut the power; look at the meter's log before you try again."),
        ),
        // The API spells it so.
        "INCOMPATBILE" => (format!("That version does not suit this meter: {} against {}.", arg(0), arg(1)), None),
        "INSTALL_FAILED" => (format!("The installation failed: {}.", arg(0)), None),
        "INVALID_IMAGE" => plain("What was downloaded is not the image that was announced."),
        "NO_IMAGE" => (format!("There is no image: {}.", arg(0)), Some("See meterctl update list, and --branch.")),
        "NOT_NEWER" => (
            format!("Version {} is not newer than the installed {}.", arg(0), arg(1)),
            Some("--force installs it all the same."),
        ),
        "NOT_SUPPORTED" => plain("This meter is not set up for that."),
        // Some meters put a whole sentence behind a tag of their own.
        other => match args {
            [text] if text.contains(' ') => (text.clone(), None),
            _ => (format!("It failed: {}.", unknown(other, args)), None),
        },
    }
}

/// What to do about a file that a meter finds fault with.
const CHECK: Option<&str> = Some("meterctl restore --check FILE names the line.");

fn unknown(tag: &str, args: &[String]) -> String {
    if args.is_empty() { tag.into() } else { format!("{tag} ({})", args.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_filled_in_and_missing_ones_do_no_harm() {
        let args = ["4.6".to_string(), "4.5".to_string()];
        assert_eq!(error("NOT_NEWER", &args).0, "Version 4.6 is not newer than the installed 4.5.");
        assert_eq!(error("NOT_NEWER", &args[..1]).0, "Version 4.6 is not newer than the installed ?.");
        assert_eq!(info("FLASH", &args), "writing 4.6");
    }

    #[test]
    fn tags_that_are_not_known_are_shown_as_they_came() {
        assert_eq!(info("POLISH", &["floor".into()]), "POLISH (floor)");
        assert_eq!(error("TILT", &[]).0, "It failed: TILT.");
        assert_eq!(error("TILT", &["It fell over.".into()]).0, "It fell over.");
    }
}
