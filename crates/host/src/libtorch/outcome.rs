//! What a function of C++ says of itself.

use std::ffi::{CStr, c_char};

unsafe extern "C" {
    fn host_free_message(message: *mut c_char);
}

/// Takes the message of a function that failed; null says that it did not.
pub(super) fn outcome(message: *mut c_char) -> Result<(), String> {
    if message.is_null() {
        return Ok(());
    }
    // SAFETY: not null, so a string made by `strdup`, which is freed once and not used afterwards.
    let text = unsafe {
        let text = CStr::from_ptr(message).to_string_lossy().into_owned();
        host_free_message(message);
        text
    };
    Err(text)
}
