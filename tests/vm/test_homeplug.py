"""HomePlug on a whole meter: the service's raw socket on the guest's eth1, whose other end is an emulated powerline."""

from plc_bridge import Line, bridges, network_key

ARCHES = ("x86", "arm")
LOCAL, NEAR, FAR = "00:b0:52:ba:be:56", "00:b0:52:ba:be:57", "00:b0:52:ba:be:58"
DEK = {NEAR: "ABCD-EFGH-IJKL-MNOP", FAR: "K7M2-9XQ4-0ABZ-11YY"}


def run(vm, tally):
    line = Line(vm.link.send, vm.link.recv, bridges([LOCAL], [f"{mac}/{dek}" for mac, dek in DEK.items()]))
    body = {"action": "setpwd", "password": "secret pass", "targets": [f"{mac}/{dek}" for mac, dek in DEK.items()]}
    reply = vm.api.call("POST", "/cmd/homeplug", body)
    tally.check("without a bridge the command says so", "No HomePlug bridge" in reply.get("error", ""), reply)
    line.start()
    try:
        reply = vm.api.call("POST", "/cmd/homeplug", body)
        status = vm.api.finish(reply["token"])
        tally.check("two remote bridges and the local one get the password", "error" not in status, (reply, status))
        result = status.get("result", {})
        changed = [it["state"] for it in result.get("targets", [])] + [result.get("local", {}).get("state")]
        tally.check("the result says so of each", changed == ["changed"] * 3 and result["verified"] is True, result)
        keys = {it.key for it in line.bridges}
        tally.check("and it is true", keys == {network_key("secret pass")}, keys)
    finally:
        line.stop()
