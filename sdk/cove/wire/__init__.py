"""The wire contract: protobuf messages, gRPC stubs and how errors travel. Generated modules come from the ``.proto`` files by ``make protos``."""
