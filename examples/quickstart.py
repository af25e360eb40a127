"""The first steps: a sandbox, programs in it, their output as it comes, files, a time-out, and the end. ``make run`` runs it."""

import cove

app = cove.App.lookup("quickstart", create_if_missing=True)
sandbox = cove.Sandbox.create(app=app, timeout=300)

process = sandbox.exec("python", "-c", "import platform; print('hello from', platform.system(), 'in', platform.node())")
print(process.stdout.read(), end="")

for line in sandbox.exec("sh", "-c", "for n in 1 2 3; do echo line $n; sleep 0.2; done").stdout:
    print("streamed:", line, end="")

with sandbox.open("/tmp/numbers.txt", "w") as file:
    file.write("\n".join(str(n * n) for n in range(10)))
total = sandbox.exec("python", "-c", "print(sum(map(int, open('/tmp/numbers.txt'))))")
print("summed inside:", total.stdout.read(), end="")

endless = sandbox.exec("sleep", "3600", timeout=1)
try:
    endless.wait()
except cove.exception.ExecTimeoutError as error:
    print("ended as asked:", error)

sandbox.terminate()
sandbox.wait(raise_on_termination=False)
print("terminated, return code", sandbox.returncode)
