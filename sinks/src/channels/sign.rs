//! The signature of a message, by which its receiver knows that it comes from who has the key, and when: an HMAC-SHA256 over the
//! time and the body. `docs/channels.md` says how to check it.

use std::fmt::Write as _;

use ring::hmac;

/// The header with the signature.
pub const HEADER: &str = "x-millrace-signature";

/// The value of the header: `t=SECONDS,v1=HEX`, of `SECONDS.BODY`.
pub fn signature(key: &[u8], seconds: i64, body: &[u8]) -> String {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
    context.update(format!("{seconds}.").as_bytes());
    context.update(body);
    let mut text = format!("t={seconds},v1=");
    for byte in context.sign().as_ref() {
        let _ = write!(text, "{byte:02x}");
    }
    text
}
