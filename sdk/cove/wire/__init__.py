"""The wire contract: protobuf messages, gRPC stubs and how errors travel.

The modules ``*_pb2*`` come from the ``.proto`` files by ``make protos``.
"""
