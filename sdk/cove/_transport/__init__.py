"""How the client talks to cove: gRPC to the router and the nodes, HTTP for bulk. The only place in the SDK that knows of either.

``channels``  one connection per address
``methods``   the remote methods, typed
``retry``     when to try again, and after how long
``plane``     one call, one stream: credentials, reconnection, errors
``control``   calls to the router
``data``      calls to one sandbox's node, with its access token
``bulk``      files and archives over HTTP
"""
