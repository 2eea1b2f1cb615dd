"""A local page over what is served: try, watch, judge, roll out; it holds no logic of its own.

running    a web server on loopback that prints its address, until it is told to end
app        its paths
guard      who may ask it, and what its pages may do
replies    answers, and errors as sentences
live       what is looked at again and again, while anybody watches
trying     Try: classify, explain, the request to copy
serving    Models: what is served, how, and how it is
traffic    Traffic: the last hour
judging    Quality: a labelled file judged, its report and its mistakes
rolling    Roll out: steps, stop, rollback, canary
rollout_process
           the program that rolls out, and puts back when it is told to end
page/      what the browser gets: HTML, CSS and modules of JavaScript, as they are
"""

from .running import console

__all__ = ["console"]
