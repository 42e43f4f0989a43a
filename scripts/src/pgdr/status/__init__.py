"""One screen: can I restore right now, how far back, how fast, and how do I know?"""
