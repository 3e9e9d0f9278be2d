"""Plays histories to fail2ban's own accounting, with its clock set.

Lines of JSON come in, one for each line goes out: the state after it. One process plays
all histories; `new` begins the next. Threads are not started: the queues between filter,
observer and actions are emptied in a fixed order after each step.
"""

import json
import logging
import random
import sys

from fail2ban.server import observer as observers
from fail2ban.server.banmanager import BanTicket
from fail2ban.server.database import Fail2BanDb
from fail2ban.server.ipdns import IPAddr
from fail2ban.server.jail import Jail
from fail2ban.server.mytime import MyTime
from fail2ban.server.ticket import FailTicket

logging.getLogger("fail2ban").setLevel(logging.CRITICAL)


class Observer(observers.ObserverThread):
    """The observer without its thread."""

    def add_timer(self, *_):
        pass

    def drain(self):
        while self._queue:
            name, *arguments = self._queue.pop(0)
            if name != "banFound":
                getattr(self, name)(*arguments)
                continue
            ticket, jail, _ = arguments
            before = ticket.restored
            self.banFound(*arguments)
            # mask every_ban_is_recorded
            if ticket.restored and not before:
                ticket.restored = False
                jail.database.addBan(jail, ticket)


class World:
    def __init__(self, jails):
        self.db = Fail2BanDb(":memory:")
        self.start(jails)

    def start(self, jails):
        self.observer = observers.Observers.Main = Observer()
        self.jails = {}
        for name, options in jails.items():
            jail = Jail(name, "polling", self.db)
            jail.isAlive = lambda: True
            jail.filter.ignoreSelf = False
            jail.filter.setMaxRetry(options["maxretry"])
            jail.filter.failManager.maxMatches = options["maxmatches"]
            jail.filter.setFindTime(options["findtime"])
            jail.actions.setBanTime(options["bantime"])
            for option, value in options["extra"]:
                jail.setBanTimeExtra(option, value)
            self.db.addJail(jail)
            self.jails[name] = jail
        for jail in self.jails.values():
            jail.restoreCurrentBans()
        self.settle()

    def settle(self):
        self.observer.drain()
        for jail in self.jails.values():
            held = {ip: end(jail, ticket) for ip, ticket in tickets(jail)}
            while jail.hasFailTickets:
                jail.actions._Actions__checkBan()
            self.observer.drain()
            self.keep_prolonged(jail, held)
            # mask a_shortened_ban_ends_in_time
            jail.actions.banManager._nextUnbanTime = 0
            jail.actions._Actions__checkUnBan(1000)

    def keep_prolonged(self, jail, held):
        """Mask a_prolonged_ban_is_recorded."""
        for ip, ticket in tickets(jail):
            until = end(jail, ticket)
            if ip in held and held[ip] != until:
                base = jail.actions.getBanTime()
                since = ticket.getTime() if base == -1 else until - base
                self.db._db.execute(
                    "UPDATE bips SET timeofban = ?, bantime = ? WHERE ip = ? AND jail = ?",
                    (int(round(since)), base, ip, jail.name),
                )

    def failure(self, name, ip, time, line):
        jail = self.jails[name]
        ticket = FailTicket(IPAddr(ip), time, matches=[line])
        attempts = jail.filter.failManager.addFailure(ticket)
        if attempts >= jail.filter.failManager.getMaxRetry():
            jail.filter.performBan(ticket.getID())
        self.observer.add("failureFound", jail, ticket)

    def ban(self, name, ip):
        jail = self.jails[name]
        held = {ip: end(jail, ticket) for ip, ticket in tickets(jail)}
        jail.actions.addBannedIP(ip)
        self.observer.drain()
        self.keep_prolonged(jail, held)

    def unban(self, ip):
        for jail in self.jails.values():
            jail.actions.removeBannedIP(ip, ifexists=True)
            # mask a_pardon_forgets_failures
            jail.filter.failManager.delFailure(IPAddr(ip))

    def state(self):
        state = {}
        for name, jail in self.jails.items():
            jail.filter.performSvc(force=True)
            failures = jail.filter.failManager._FailManager__failList
            tries = {str(ip): float(ticket.getRetry()) for ip, ticket in failures.items()}
            bans = {ip: end(jail, ticket) for ip, ticket in tickets(jail)}
            rows = self.db._db.execute(
                "SELECT ip, timeofban, bantime, bancount, data FROM bips WHERE jail = ?", (name,)
            )
            rows = {ip: [*map(float, numbers), evidence(data)] for ip, *numbers, data in rows}
            state[name] = {"tries": tries, "bans": bans, "rows": rows}
        return state


def evidence(data):
    """What is written down of a ban's failures: their number and the last lines."""
    return [data["failures"], *data["matches"]]


def tickets(jail):
    return [(str(ticket.getID()), ticket) for ticket in jail.actions.banManager]


def end(jail, ticket):
    """Until when a ticket's ban lasts; -1 is for ever."""
    until = ticket.getEndOfBanTime(jail.actions.getBanTime())
    return -1.0 if until == BanTicket.MAX_TIME else float(until)


def main():
    random.seed(1)  # for bantime.rndtime
    world = None
    for line in sys.stdin:
        step = json.loads(line)
        MyTime.setTime(step["now"])
        for jail in world.jails.values() if world else ():
            jail.filter.performSvc(force=True)
            jail.actions.banManager._nextUnbanTime = 0
            jail.actions._Actions__checkUnBan(1000)
        do = step["do"]
        if do == "new":
            world = World(step["jails"])
        elif do == "restart":
            world.start(step["jails"])
        elif do == "failure":
            world.failure(step["jail"], step["ip"], step["time"], step["line"])
        elif do == "ban":
            world.ban(step["jail"], step["ip"])
        elif do == "unban":
            world.unban(step["ip"])
        world.settle()
        print(json.dumps(world.state()), flush=False)


main()
