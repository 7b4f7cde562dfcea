"""The page: `python -m ttp_jax.app`, with `pip install 'ttp_jax[app]'`.

It is served to this machine alone, and needs no network. Videos and results lie under `--workdir`.
"""

import argparse
import pathlib
import sys
import webbrowser

from ttp_jax.app.jobs import Jobs


def main(argv: list[str]) -> None:
    """Serves the page until it is stopped."""
    parser = argparse.ArgumentParser(prog='python -m ttp_jax.app')
    parser.add_argument('--port', type=int, default=8765)
    parser.add_argument('--workdir', default='runs/app', help='where videos and results lie')
    parser.add_argument('--no-browser', action='store_true', help='open no browser')
    options = parser.parse_args(argv)
    try:
        from ttp_jax.app import server
    except ImportError:
        sys.exit("error: the page needs flask: pip install 'ttp_jax[app]'")
    app = server.create(Jobs(pathlib.Path(options.workdir)))
    address = f'http://127.0.0.1:{options.port}/'
    print(f'The page is at {address}; Ctrl-C ends it.', flush=True)
    if not options.no_browser:
        webbrowser.open(address)
    app.run(host='127.0.0.1', port=options.port, threaded=True)


if __name__ == '__main__':
    main(sys.argv[1:])
