"""Typed in: imports with a progress bar, faults as a table, credentials into a file of their own."""

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Task as ProgressTask
from rich.table import Table
from rich.text import Text
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from app.audit.console import typist
from app.database import act_for, connect, in_transaction_of
from app.errors import DomainError, Refused
from app.imports import service
from app.imports.columns import LAYOUTS
from app.imports.facts import Kind
from app.imports.reader import MOST_BYTES, FileUnusable
from app.imports.routes import understood
from app.imports.service import Imported, Importer, LinesAtFault, Upload
from app.imports.writer import credentials, template
from app.load_control.service import Pace
from app.settings import Settings
from app.staff.queries import find_by_sign_in_name
from app.terminals.routes import keys_of, pin, site_keys_for, site_secret_of
from app.terminals.schemas import TerminalRegistered

FAULTY = 1
UNUSABLE = 2


class NobodyAnswers(Refused):
    title = "Nobody answers for the import"


class CredentialsUnsaved(Refused):
    title = "There is no place for the credentials"


@dataclass(frozen=True, kw_only=True)
class Order:
    """What was typed."""

    kind: Kind
    file: Path
    sign_in_name: str
    zone: str
    dry_run: bool
    credentials: Path | None


class _Speed(TextColumn):
    """Rows a second."""

    def __init__(self) -> None:
        super().__init__("")

    def render(self, task: ProgressTask) -> Text:
        return Text(f"{task.speed or 0:,.0f} rows/s")


def run(order: Order, *, settings: Settings, console: Console) -> int:
    """Import a file; returns the exit code: 0 done, 1 lines at fault, 2 it cannot be imported at all."""
    engine = connect(settings.database_url.get_secret_value(), pool_size=1)
    try:
        _check_credentials_path(order)
        console.print(f"Reading {escape(str(order.file))} …")
        upload = understood(order.kind, _content(order.file), file_name=order.file.name[:200], zone=order.zone)
        done = _with_progress(order, upload, engine=engine, settings=settings, console=console)
    except LinesAtFault as refusal:
        _show_faults(refusal, console=console)
        return FAULTY
    except DomainError as refusal:
        console.print(f"{refusal.detail} {refusal.remedy}", markup=False, style="red")
        return UNUSABLE
    finally:
        engine.dispose()
    would = "would be imported; nothing was written" if order.dry_run else "imported"
    console.print(f"{done.records:,} {order.kind.value} from {done.rows:,} lines {would}.")
    if order.credentials is not None and not order.dry_run:
        console.print(f"Their credentials are in {order.credentials}, and nowhere else.", markup=False)
    return 0


def write_template(kind: Kind, path: Path) -> None:
    """Write a template that does not exist yet.

    Raises:
        FormUnknown: the ending is none that is written.
        FileExistsError: there is a file of this name.
    """
    content = template(LAYOUTS[kind], suffix=path.suffix.lower())
    path.touch(exist_ok=False)
    path.write_bytes(content)


def _check_credentials_path(order: Order) -> None:
    if order.kind is not Kind.TERMINALS or order.dry_run:
        return
    if order.credentials is None:
        raise CredentialsUnsaved(
            "Credentials of terminals are shown once, and no file was named for them.",
            remedy="Add --credentials FILE.json or FILE.xlsx.",
        )
    if order.credentials.exists() or order.credentials.suffix not in (".json", ".xlsx"):
        raise CredentialsUnsaved(
            f"{order.credentials} exists, or does not end in .json or .xlsx.", remedy="Name a new file."
        )


def _content(path: Path) -> bytes:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise FileUnusable(f"{path} has more than {MOST_BYTES:,} bytes.", remedy="Divide it into several files.")
        return path.read_bytes()
    except OSError as error:
        raise FileUnusable(f"{path}: {error.strerror}.", remedy="Name a file that you may read.") from error


def _with_progress(order: Order, upload: Upload, *, engine: Engine, settings: Settings, console: Console) -> Imported:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Speed(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(order.kind.value, total=len(upload.reading.records))
        bar = (progress, task)
        return in_transaction_of(engine, typist(), _take_over, order, upload, settings=settings, bar=bar)


def _take_over(
    session: Session, order: Order, upload: Upload, *, settings: Settings, bar: tuple[Progress, TaskID]
) -> Imported:
    progress, task = bar
    progress.reset(task)
    by = _importer(session, order.sign_in_name)
    act_for(session, typist(staff_member_id=by.id, sign_in_name=by.sign_in_name))
    # Before the work: a service without its key could let no terminal in.
    keys = keys_of(settings) if order.kind is Kind.TERMINALS else None
    done = service.take_over(
        session,
        upload,
        by=by,
        pace=Pace.of(settings),
        now=settings.clock.now(),
        dry_run=order.dry_run,
        progress=lambda count: progress.advance(task, count),
    )
    if keys is not None and order.credentials is not None and not order.dry_run:
        # Before the commit: credentials of terminals that were not registered harm nobody, lost ones do.
        names = [name for name, _ in done.credentials]
        pinned, site_keys = pin(session, names, keys), site_keys_for(session, names, site_secret_of(settings))
        registered = [
            TerminalRegistered.of(name, credential=credential, pinned=pinned, site_key=site_keys.get(name))
            for name, credential in done.credentials
        ]
        _save(registered, order.credentials)
    return done


def _save(registered: list[TerminalRegistered], path: Path) -> None:
    try:
        credentials(registered, path=path)
    except OSError as error:
        raise CredentialsUnsaved(
            f"{path}: {error.strerror}; nothing was imported.", remedy="Name a file that you may write."
        ) from error


def _importer(session: Session, sign_in_name: str) -> Importer:
    person = find_by_sign_in_name(session, name=sign_in_name)
    if person is None or not person.active:
        raise NobodyAnswers(
            f"Nobody signs in as {sign_in_name!r}, or the person has left.", remedy="Name who answers with --as."
        )
    return Importer(id=person.id, sign_in_name=person.sign_in_name, roles=frozenset(person.roles))


def _show_faults(refusal: LinesAtFault, *, console: Console) -> None:
    table = Table("行 line", "列 column", "值 value", "错在哪里 what is wrong", "应为 what would be right")
    for one in refusal.faults:
        cells = (
            str(one.line),
            one.column,
            one.value,
            f"{one.wrong.zh}；{one.wrong.en}",
            f"{one.right.zh}；{one.right.en}",
        )
        table.add_row(*(escape(cell) for cell in cells))
    console.print(table, soft_wrap=False)
    console.print(f"{refusal.detail} {refusal.remedy}", markup=False, style="red")
