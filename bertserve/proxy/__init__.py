"""nginx beside one server, as a program of its own: callers' tokens outside, the server's key inside.

running         nginx watched, and told of each change: run
sight           what can change while it runs: the server's key, callers' tokens, the certificate
tokens          who may call, from a folder with a file for each caller
configuration   what nginx reads: nginx.conf of deploy/nginx, and its includes for this place
nginx           the program itself: started, told to read its configuration anew, ended
"""

from .configuration import Place
from .running import run

__all__ = ["Place", "run"]
