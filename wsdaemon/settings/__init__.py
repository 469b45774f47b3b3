"""The settings: an INI file, or keyword arguments in Python, made into frozen and typed dataclasses, or every problem at once.

    ini.load(path) -> Settings                  the INI file; raises SettingsError
    build.build(sections, source) -> Settings   the same from Python values
    model                                       the dataclasses, one for each kind of section
    values                                      the value types, and the forms they are written in
    apps.APP_OPTIONS                            the built-in apps and the options each brings
    reference.reference(), .effective()         the reference INI, and the INI text of given settings

To add a setting, add one field to the dataclass of its section in `model`, such as

    max_rooms: Count = field(default=100, metadata=explain("How many rooms one connection may join."))

and run `python -m wsdaemon.settings.reference > etc/ws.reference.ini`. The annotation chooses how the value is read, checked
and shown; the default and the help go into the reference. Nothing else needs to know. A built-in app adds its options the
same way, as a dataclass of its own that is named in `apps.APP_OPTIONS`.
"""
