//! The beginning of a connection: the server's greeting and the client's answers enter; capabilities, user and schema leave.
//! Both dialects: MariaDB says by a cleared bit that it has further capabilities. What cannot be read is said, not guessed.

use super::packets::Fields;

/// Capabilities, by the bits of the protocol. MariaDB's further ones are the bits from 32 on.
pub(super) mod capability {
    pub(in super::super) const LONG_PASSWORD: u64 = 1;
    pub(in super::super) const CONNECT_WITH_DB: u64 = 1 << 3;
    pub(in super::super) const COMPRESS: u64 = 1 << 5;
    pub(in super::super) const PROTOCOL_41: u64 = 1 << 9;
    pub(in super::super) const SSL: u64 = 1 << 11;
    pub(in super::super) const SECURE_CONNECTION: u64 = 1 << 15;
    pub(in super::super) const PLUGIN_AUTH_LENENC: u64 = 1 << 21;
    pub(in super::super) const DEPRECATE_EOF: u64 = 1 << 24;
    pub(in super::super) const OPTIONAL_METADATA: u64 = 1 << 25;
    pub(in super::super) const ZSTD: u64 = 1 << 26;
    pub(in super::super) const QUERY_ATTRIBUTES: u64 = 1 << 27;
}

use capability as c;

/// The length of a client's packet that asks for TLS: the fixed part of its answer and nothing else.
const TLS_REQUEST_BYTES: u64 = 32;

/// What a client's first packet says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Login {
    /// TLS follows.
    Tls,
    /// The client names itself.
    Named {
        /// What it can do.
        capabilities: u64,
        /// The number of the collation of its character set.
        collation: u8,
        user: String,
        schema: String,
    },
}

/// What a change of user names.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ChangeUser {
    pub(super) user: String,
    pub(super) schema: String,
    /// The number of the collation of the client's character set.
    pub(super) collation: Option<u8>,
}

/// What a server says first.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Greeting {
    /// What it can do.
    pub(super) capabilities: u64,
    /// The connection's id.
    pub(super) thread: u32,
}

/// A server's greeting; none when it is none of protocol version 10.
pub(super) fn greeting(payload: &[u8]) -> Option<Greeting> {
    let mut fields = Fields(payload);
    if fields.u8()? != 10 {
        return None;
    }
    fields.zero_ended()?;
    let thread = fields.u32()?;
    fields.bytes(8 + 1)?;
    let mut capabilities = u64::from(fields.u16()?);
    if fields.bytes(3).is_none() {
        return Some(Greeting { capabilities, thread });
    }
    capabilities |= u64::from(fields.u16().unwrap_or(0)) << 16;
    let further = fields.bytes(1 + 6).and_then(|_| fields.u32()).unwrap_or(0);
    if capabilities & c::LONG_PASSWORD == 0 {
        capabilities |= u64::from(further) << 32;
    }
    Some(Greeting { capabilities, thread })
}

/// What the client's answer to a greeting says; `length` is that of the whole packet. None when it is none.
pub(super) fn login(payload: &[u8], length: u64) -> Option<Login> {
    let mut fields = Fields(payload);
    let mut capabilities = u64::from(fields.u32()?);
    if capabilities & c::PROTOCOL_41 == 0 {
        return None;
    }
    let collation = fields.bytes(4 + 1)?[4];
    fields.bytes(19)?;
    let further = fields.u32()?;
    if capabilities & c::SSL != 0 && length == TLS_REQUEST_BYTES {
        return Some(Login::Tls);
    }
    if capabilities & c::LONG_PASSWORD == 0 {
        capabilities |= u64::from(further) << 32;
    }
    let user = text(fields.zero_ended()?);
    if capabilities & c::PLUGIN_AUTH_LENENC != 0 {
        fields.string()?;
    } else if capabilities & c::SECURE_CONNECTION != 0 {
        let length = usize::from(fields.u8()?);
        fields.bytes(length)?;
    } else {
        fields.zero_ended()?;
    }
    let schema = if capabilities & c::CONNECT_WITH_DB == 0 { String::new() } else { text(fields.zero_ended()?) };
    Some(Login::Named { capabilities, collation, user, schema })
}

/// User and schema in the payload of `COM_CHANGE_USER`, behind the command's byte.
pub(super) fn change_user(payload: &[u8]) -> Option<ChangeUser> {
    let mut fields = Fields(payload);
    let user = text(fields.zero_ended()?);
    let length = usize::from(fields.u8()?);
    fields.bytes(length)?;
    let schema = text(fields.zero_ended()?);
    Some(ChangeUser { user, schema, collation: fields.u16().map(|number| number as u8) })
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn greeting_bytes(low: u16, high: u16, further: u32) -> Vec<u8> {
        let mut bytes = b"\x0a10.11.19-MariaDB\0".to_vec();
        bytes.extend([7, 1, 0, 0]);
        bytes.extend([0; 9]);
        bytes.extend(low.to_le_bytes());
        bytes.extend([0; 3]);
        bytes.extend(high.to_le_bytes());
        bytes.extend([0; 7]);
        bytes.extend(further.to_le_bytes());
        bytes
    }

    #[test]
    fn reads_both_dialects() {
        let expected = |capabilities| Some(Greeting { capabilities, thread: 263 });
        assert_eq!(greeting(&greeting_bytes(1, 0x0100, 7)), expected(c::DEPRECATE_EOF | 1));
        assert_eq!(greeting(&greeting_bytes(0, 0x0100, 7)), expected(c::DEPRECATE_EOF | 7 << 32));
        assert_eq!(greeting(b"GET / HTTP/1.1"), None);
    }

    fn login_bytes(capabilities: u64, rest: &[u8]) -> Vec<u8> {
        let mut bytes = (capabilities as u32).to_le_bytes().to_vec();
        bytes.extend([0; 4]);
        bytes.push(28);
        bytes.extend([0; 23]);
        bytes.extend_from_slice(rest);
        bytes
    }

    fn check(capabilities: u64, rest: &[u8], user: &str, schema: &str) {
        let capabilities = capabilities | c::PROTOCOL_41 | c::LONG_PASSWORD;
        let bytes = login_bytes(capabilities, rest);
        let expected = Login::Named { capabilities, collation: 28, user: user.into(), schema: schema.into() };
        assert_eq!(login(&bytes, bytes.len() as u64), Some(expected));
        for length in 32..bytes.len() {
            let _ = login(&bytes[..length], length as u64);
        }
    }

    #[test]
    fn reads_every_form_of_a_login() {
        check(c::PLUGIN_AUTH_LENENC | c::CONNECT_WITH_DB, b"app\0\x03abcshop\0plugin\0", "app", "shop");
        check(c::SECURE_CONNECTION | c::CONNECT_WITH_DB, b"app\0\x03abcshop\0", "app", "shop");
        check(c::SECURE_CONNECTION, b"app\0\x00", "app", "");
        check(0, b"app\0secret\0", "app", "");
        let tls = login_bytes(c::PROTOCOL_41 | c::SSL, b"");
        assert_eq!(login(&tls, 32), Some(Login::Tls));
        assert_eq!(login(b"GET / HTTP/1.1\r\n\r\n", 18), None);
    }

    #[test]
    fn reads_a_change_of_user() {
        let changed = |collation| Some(ChangeUser { user: "app".into(), schema: "shop".into(), collation });
        assert_eq!(change_user(b"app\0\x02xyshop\0\x1c\0rest"), changed(Some(28)));
        assert_eq!(change_user(b"app\0\x02xyshop\0"), changed(None));
        assert_eq!(change_user(b"app\0\x20xy"), None);
    }
}
