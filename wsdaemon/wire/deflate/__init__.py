"""permessage-deflate (RFC 7692): what is agreed, the two streams of a connection, and the end of compressors that are not used."""
