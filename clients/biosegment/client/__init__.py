"""The BioSegment SDK: light (grpcio, protobuf, numpy), sync and async."""
