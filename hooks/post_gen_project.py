"""Finish the project: keep what was chosen, write `.env`, make the first commit."""

from __future__ import annotations

import os

if __name__ == "__main__":
    # cookiecutter leaves this copy, answers in it, among the temporary files ({{ copy_mark() }})
    os.unlink(__file__)  # noqa: PTH108  (nothing else is imported before)

import json
import re
import subprocess
from pathlib import Path

# Both arrive as data: Jinja writes ' as \u0027 in JSON, so no answer can end these literals.
ANSWERS: dict[str, str] = json.loads(r'''{{ cookiecutter | tojson }}''')  # fmt: skip
FILES: list[str] = json.loads(r'''{{ cookiecutter | generated_files | tojson }}''')  # fmt: skip

LICENSES = ("MIT", "Apache-2.0", "BSD-3-Clause", "Proprietary")
LOCKS = ("sqlite.txt", "postgresql.txt", "mysql.txt")
CI_DATABASES = ("compose.postgresql.yaml", "compose.mysql.yaml")
KUBERNETES = tuple(
    f"ops/kubernetes/{name}.yaml" for name in ("migrate", "monitor", "network", "pgbouncer", "web")
)
CHOSEN_FILES = {
    ("docker", "yes"): ("Dockerfile", ".dockerignore", "compose.yaml", *KUBERNETES),
    ("__driver", "postgresql or mysql"): KUBERNETES,
    ("__driver", "postgresql"): ("ops/pgbouncer.ini", "ops/kubernetes/pgbouncer.yaml"),
    ("ci", "github"): (".github/workflows/ci.yml", ".github/dependabot.yml"),
    ("ci", "gitlab"): (".gitlab-ci.yml", "renovate.json"),
}


def keep_chosen() -> None:
    """Remove the files of what was not chosen; put the chosen ones of a kind in their place."""
    for (prompt, answers), names in CHOSEN_FILES.items():
        if ANSWERS[prompt] not in answers.split():
            for name in names:
                remove(Path(name))
    keep_one("licenses", LICENSES, ANSWERS["license"], "LICENSE")
    driver = ANSWERS["__driver"]
    keep_one("locks", LOCKS, f"{driver}.txt", "requirements.txt")
    lock = Path("requirements.txt")
    lock.write_bytes(b"-r vendor/lock.txt\n" + lock.read_bytes())
    database = f"compose.{driver}.yaml" if ANSWERS["ci"] == "github" else ""
    keep_one(".github/databases", CI_DATABASES, database, ".github/compose.yaml")


def keep_one(folder: str, names: tuple[str, ...], chosen: str, place: str) -> None:
    """Move the chosen file of a folder, if there is one, to its place; remove the others."""
    if chosen in names:
        Path(folder, chosen).replace(place)
    for name in names:
        if name != chosen:
            remove(Path(folder, name))


def remove(path: Path) -> None:
    """Remove a file, and the folders that this leaves empty."""
    if not path.exists():  # not chosen for another reason, too
        return
    path.unlink()
    for folder in list(path.parents)[:-1]:
        if any(folder.iterdir()):
            return
        folder.rmdir()


def write_env() -> list[str]:
    """Write `.env` for this machine only, unless there is one."""
    url = f"{ANSWERS['__scheme']}://{ANSWERS['database_url'].partition('://')[2]}"
    if not re.fullmatch(r"[\w.~:/?@\[\]%+,=-]*", url, re.ASCII):
        url = f"'{url}'"  # it never holds a quote; bare when it may be, for docker --env-file
    # the standard library's `secrets` reads the same source, and takes longer to import
    settings = {"SQLALCHEMY_DATABASE_URI": url, "SECRET_KEY": os.urandom(32).hex()}
    if ANSWERS["docker"] == "yes" and ANSWERS["__driver"] != "sqlite":
        settings["COMPOSE_DATABASE_PASSWORD"] = os.urandom(16).hex()
    try:
        file = os.open(".env", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return ["The .env that was here stays as it is."]
    with os.fdopen(file, "w", encoding="utf-8", newline="\n") as env:
        env.write("# This machine's settings and secrets. Never commit them; see .env.example.\n")
        env.writelines(f"{name}={value}\n" for name, value in settings.items())
    return []


def git(*arguments: str) -> str:
    """Run git without the user's hooks, signing, ignored files and variables of an outer git."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in {"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX"}
    }
    plain = (
        f"core.hooksPath={os.devnull}",
        f"core.excludesFile={os.devnull}",
        "commit.gpgSign=false",
        "core.safecrlf=false",
        "maintenance.auto=false",
    )
    options = [word for setting in plain for word in ("-c", setting)]
    return subprocess.run(
        ["git", *options, *arguments],
        check=True,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        env=environment,
        stdin=subprocess.DEVNULL,
        timeout=60,
    ).stdout


def first_commit() -> list[str]:
    """Commit the project to a repository of its own; say so if that can't be done."""
    if Path(".git").exists():
        return ["git: the repository that was here is left to you."]
    try:
        if in_other_repository():
            # a repository inside a repository would hide the files from the outer one
            return ["git: this folder is part of another repository; commit it there."]
        git("init", "--quiet")
        # in a folder that was there (cookiecutter -f) others may have their files
        found = git("ls-files", "-z", "--others", "--exclude-standard").split("\0")[:-1]
        own = sorted({*found} & {*FILES, "LICENSE", "requirements.txt", ".github/compose.yaml"})
        git("--literal-pathspecs", "add", "--", *own)
        commit = ("commit", "--quiet", "--no-verify", "--message", "Start from flask-pool")
        try:
            git("-c", "user.useConfigOnly=true", *commit)
        except subprocess.CalledProcessError:
            name, email = ANSWERS["author_name"], ANSWERS["author_email"]
            git("-c", f"user.name={name}", "-c", f"user.email={email}", *commit)
    except (OSError, subprocess.SubprocessError) as error:
        reason = getattr(error, "stderr", None) or str(error)
        return [f"git: no first commit ({reason.strip().splitlines()[-1]})."]
    left = len(found) - len(own)
    return [f"git: left out of the first commit: {left} that were here before."] if left else []


def in_other_repository() -> bool:
    """Tell whether the project's folder lies in the work tree of another repository."""
    try:
        return git("rev-parse", "--is-inside-work-tree").strip() == "true"
    except subprocess.CalledProcessError:
        return False


def cruft_file() -> list[str]:
    """Say what to do with the answers that cruft keeps, and keep a password in them out of git."""
    if "_repo_dir" in ANSWERS:
        return []  # cookiecutter keeps them elsewhere, and the hook before has said where
    if ANSWERS["__database_url"].endswith(ANSWERS["database_url"].partition("://")[2]):
        return ["cruft adds .cruft.json now; commit it, so that `cruft update` works."]
    lines = [
        "cruft keeps your answers with the password in .cruft.json.",
        "Write *** in place of the password there before you commit it (git add --force).",
    ]
    try:
        exclude = Path(git("rev-parse", "--git-path", "info/exclude").strip())
        folder = re.sub(r"([*?\[\\])", r"\\\1", git("rev-parse", "--show-prefix").strip())
        exclude.parent.mkdir(exist_ok=True)
        with exclude.open("a", encoding="utf-8") as file:
            file.write(f"/{folder}.cruft.json\n")
    except (OSError, subprocess.SubprocessError):
        return lines
    return [lines[0][:-1] + "; git ignores it here.", lines[1]]


def main() -> None:
    """Finish the project, then say what to do next."""
    keep_chosen()
    notes = [*write_env(), *first_commit(), *cruft_file()]
    text = "\n".join(["", *notes, "Next:", f"  cd {ANSWERS['project_slug']}", "  make run"])
    print(text.encode("ascii", "backslashreplace").decode())  # for consoles of any encoding


if __name__ == "__main__":
    main()
