#!/usr/bin/env python3
"""mail.py DIR PORT CERTIFICATE KEY USER PASSWORD: a mail server on 127.0.0.1 that takes nothing before STARTTLS and the log-in of USER, and
keeps what it gets in the Maildir DIR, until it is stopped. scripts/store.sh runs it; tests send mail to it."""

import asyncio
import ssl
import sys

from aiosmtpd.handlers import Mailbox
from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword


async def serve(folder, port, certificate, key, user, password):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    expected = LoginPassword(user.encode(), password.encode())
    handler = Mailbox(folder)

    def known(_server, _session, _envelope, _mechanism, data):
        # Not handled: the server itself says that a log-in is refused.
        return AuthResult(success=data == expected, handled=False)

    def session():
        return SMTP(
            handler, tls_context=context, require_starttls=True, authenticator=known, auth_required=True, hostname="localhost"
        )

    server = await asyncio.get_running_loop().create_server(session, "127.0.0.1", int(port))
    await server.serve_forever()


asyncio.run(serve(*sys.argv[1:]))
