"""The other side of the mutants: honest variations of the same arithmetic, none of which may raise an alarm.

variations  what is varied
alarms      our outputs under a variation, judged as ever
kept        series in a file, a line for each case
spread      how R is distributed, by kind of variation
"""
