"""Authentication: an authenticator for each [auth:NAME] section, and the chain of them that a mount asks.

    make.make_authenticators(settings)   every section's authenticator by name, or AuthError with every problem
    chain.Chain                          the authenticators of a mount's `auth`: the first to recognise the client decides
    contract                             the contract of authenticators
    core.identity.Identity               the name of a client
    expiry                               the end of a token, and the warning before it

These imports cost next to nothing; each kind loads its library when a section asks for it.
"""
