"""Who a client is: the ways of the [auth:NAME] sections, each an authenticator, and the chain of them that a mount asks.

    make.make_authenticators(settings)   every section's authenticator by name, or AuthError with all that is wrong
    chain.Chain                          what a mount's `auth` lists: the first to recognise the client decides
    contract                             what an authenticator is given, what it gives, and how it refuses
    core.identity.Identity               what reaches the app
    expiry.Expiry                        the end of a token, and the warning before it

What is imported here costs next to nothing; each kind loads its library when a section asks for it.
"""
