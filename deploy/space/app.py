"""Host the page where others can reach it, on a Space for instance: one process, port 7860, a token for visitors."""
import os
import secrets

from colorize_nb.app.server import serve_app
from colorize_nb.app.sessions import AppLimits

def settings(env=os.environ):
    "What `serve_app` is given: all of it comes from the environment, with defaults for two cores and 16 GB"
    token = env.get('COLORIZE_NB_APP_TOKEN') or secrets.token_urlsafe(18) # nobody comes in without one
    def number(name, default): return int(env.get(name, default))
    limits = AppLimits(
        upload=number('COLORIZE_NB_UPLOAD_MB', 60)*1_000_000, # of one picture
        stored=number('COLORIZE_NB_STORED_MB', 2000)*1_000_000, # of all visitors together
        pixels=number('COLORIZE_NB_MEGAPIXELS', 40)*1_000_000, pictures=50, hours=2)
    return dict(host=env.get('HOST', '0.0.0.0'), port=number('PORT', 7860), token=token, limits=limits,
                model=env.get('COLORIZE_NB_MODEL', 'default'))

if __name__ == '__main__':
    chosen = settings()
    if not os.environ.get('COLORIZE_NB_APP_TOKEN'):
        print(f"visitors need the token {chosen['token']} (set COLORIZE_NB_APP_TOKEN to choose one)", flush=True)
    serve_app(**chosen, ready=lambda url: print(f'the page is at {url}', flush=True))
