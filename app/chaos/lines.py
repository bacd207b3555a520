"""A utility whose service and workers reach database and broker over lines that can be cut."""

import sys
from urllib.parse import quote

from app.chaos import relay
from app.chaos.parts import WORKERS
from app.demo.utility import DATABASE, Utility
from app.embedded.children import Child
from app.embedded.ports import free_port

_RELAYS = "relays"


class LinedUtility(Utility):
    """Lays the lines before the first part that needs them starts."""

    @property
    def relays(self) -> Child:
        return self.children[_RELAYS]

    def start_service(self) -> None:
        if _RELAYS not in self.children:
            self._lay_lines()
        super().start_service()

    def stop(self) -> None:
        super().stop()
        self.stop_child(_RELAYS)

    def _lay_lines(self) -> None:
        lines = [self._to_database("service")]
        for name in WORKERS:
            port = free_port()
            self.more.setdefault(name, {})["WATTGATE_BROKER_PORT"] = str(port)
            heard = str(self.folder / "overheard")
            lines.append(
                relay.Line(name=f"{name}-broker", listen=str(port), to=str(self.broker.port), overheard=heard)
            )
            lines.append(self._to_database(name))
        task = self.folder / "lines.json"
        relay.write(task, lines)
        arguments = [sys.executable, "-m", "app.chaos.relay", str(task)]
        self.children[_RELAYS] = Child(arguments, log=self.folder / "logs" / "relays.log")

    def _to_database(self, name: str) -> relay.Line:
        far = self.postgres.socket
        near = self.folder / "lines" / name / far.name
        direct = self.postgres.application_url(DATABASE)
        url = direct.replace(quote(str(far.parent), safe=""), quote(str(near.parent), safe=""))
        self.more.setdefault(name, {})["WATTGATE_DATABASE_URL"] = url
        return relay.Line(name=f"{name}-database", listen=str(near), to=str(far))
