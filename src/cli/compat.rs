//! gambol99/etcd-discovery's flags work here too, in Go's single-dash form.

use std::ffi::OsString;

/// Go's flag package takes one dash for long names: `-proxy-mode=true` is `--proxy-mode=true`.
pub(super) fn from_go_form(argument: OsString) -> OsString {
    let Some(text) = argument.to_str() else { return argument };
    let Some(rest) = text.strip_prefix('-').filter(|rest| !rest.starts_with('-')) else { return argument };
    let name = rest.split('=').next().unwrap_or_default();
    let long = name.len() > 1 && name.starts_with(|c: char| c.is_ascii_alphabetic());
    // `-v10` is a short option with its value.
    let short_with_value = name.starts_with('v') && name[1..].bytes().all(|b| b.is_ascii_digit());
    if long && !short_with_value { format!("--{rest}").into() } else { argument }
}

/// The words that Go's strconv.ParseBool takes.
pub(super) fn go_bool(text: &str) -> Result<bool, String> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        other => Err(format!("'{other}' is neither true nor false")),
    }
}
